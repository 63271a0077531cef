"""Halving by characters seen: who is stopped, when, and what is warned of before."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from masklab.cluster.tune.ray_tune import OBJECTIVE, PAYLOAD, SPENT, NamedTrial, cut_too_soon, grace_chars, recall, scheduler_of
from masklab.config.compose.composition import compose
from masklab.config.jobs.tune import SweepSettings
from masklab.reporting.run.history import EvaluationRecord, History
from masklab.training.settings import TrainingSettings

ASHA = SweepSettings(scheduler="asha", grace=0.1, reduction_factor=3)
TRAINING = TrainingSettings(max_iters=100, batch_size=4, block_size=32, eval_interval=10)
WHOLE = 100 * 4 * 32


def decision(scheduler: Any, name: str, chars: int, nats: float) -> str:
    trial = NamedTrial(name)
    if name not in scheduler._trial_info:
        scheduler.on_trial_add(None, trial)
    return str(scheduler.on_trial_result(None, trial, {SPENT: chars, OBJECTIVE: nats}))


def seen(chars: int, nats: float) -> EvaluationRecord:
    return EvaluationRecord(
        iteration=1, stage=0, train_loss=0.0, loss=0.0, stage_losses=(), nelbo_nats=nats, chars=chars, masked_chars=0, elapsed_seconds=0.0
    )


def test_a_trial_that_falls_behind_is_stopped_once_its_grace_is_over() -> None:
    scheduler = scheduler_of(ASHA, TRAINING)
    assert grace_chars(ASHA, TRAINING) == WHOLE // 10
    assert decision(scheduler, "good", WHOLE // 10, 2.0) == "CONTINUE"
    assert decision(scheduler, "bad", WHOLE // 10 - 1, 9.0) == "CONTINUE"
    assert decision(scheduler, "bad", WHOLE // 10, 9.0) == "STOP"


def test_reports_do_not_count_but_characters_do() -> None:
    scheduler = scheduler_of(ASHA, TRAINING)
    decision(scheduler, "good", WHOLE // 10, 2.0)
    assert [decision(scheduler, "bad", 1, 9.0) for _ in range(20)] == ["CONTINUE"] * 20


def test_a_trial_at_the_end_of_its_budget_is_not_stopped_for_that() -> None:
    assert decision(scheduler_of(ASHA, TRAINING), "only", WHOLE, 2.0) == "CONTINUE"


def test_a_sweep_that_goes_on_holds_trials_against_the_earlier_ones() -> None:
    scheduler = scheduler_of(ASHA, TRAINING)
    recall(scheduler, "000", History(evaluations=(seen(WHOLE // 10, 2.0), seen(WHOLE // 2, 1.5))))
    assert decision(scheduler, "001", WHOLE // 10, 2.5) == "STOP"
    assert decision(scheduler, "002", WHOLE // 10, 1.9) == "CONTINUE"


def test_a_trial_that_goes_on_is_held_against_others_only_where_it_had_not_been() -> None:
    scheduler = scheduler_of(ASHA, TRAINING)
    tenth = WHOLE // 10
    recall(scheduler, "000", History(evaluations=(seen(tenth, 2.0), seen(3 * tenth, 1.8))))
    recall(scheduler, "001", History(evaluations=(seen(tenth, 1.9), seen(3 * tenth, 1.7))))
    going_on = SimpleNamespace(trial_id="numbered anew", config={PAYLOAD: SimpleNamespace(number=1)})
    scheduler.on_trial_add(None, going_on)
    for chars in (4, 5, 6):
        assert scheduler.on_trial_result(None, going_on, {SPENT: chars * tenth, OBJECTIVE: 1.0}) == "CONTINUE"
    assert decision(scheduler, "002", tenth, 1.92) == "CONTINUE", "the best showed 1.9 there, and not 1.0"


def test_trials_that_diverge_are_stopped_however_many_did_before() -> None:
    scheduler = scheduler_of(ASHA, TRAINING)
    assert decision(scheduler, "good", WHOLE // 10, 2.0) == "CONTINUE"
    assert [decision(scheduler, f"bad {number}", WHOLE // 10, math.inf) for number in range(2)] == ["STOP", "STOP"]
    assert decision(scheduler, "better", WHOLE // 10, 1.9) == "CONTINUE"


def test_without_a_scheduler_every_trial_is_trained_to_its_end() -> None:
    assert scheduler_of(SweepSettings(), TRAINING) is None


@pytest.mark.parametrize(("grace", "warned"), [(0.1, True), (0.19, True), (0.2, False)])
def test_a_cut_before_the_second_stage_is_warned_of(root: Path, grace: float, warned: bool) -> None:
    config = compose(["curriculum=annealed", "training.max_iters=100", "training.eval_interval=10"], root)
    lines = list(cut_too_soon(SweepSettings(scheduler="asha", grace=grace), [config, config]))
    assert len(lines) == warned
    assert all("raise sweep.grace to 0.2" in line and "annealed" in line for line in lines)


def test_one_stage_cannot_be_cut_too_soon(root: Path) -> None:
    assert not list(cut_too_soon(ASHA, [compose(["curriculum=uniform"], root)]))
