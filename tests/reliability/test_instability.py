"""Losses, gradients and weights that are not finite, and spikes: one step is skipped, many in a row take the run back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from poison import INF, NAN, assert_same_state, by_hand, of_kind, poisoned_loop, state_of
from recipes import recipe

from masklab.errors import InstabilityError, UserError
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch import BatchKey
from masklab.training.events import (
    CheckpointSaved,
    EvaluationDone,
    RolledBack,
    RunFinished,
    StepDone,
    StepSkipped,
)
from masklab.training.optimizer import learning_rate
from masklab.training.precision import Precision
from masklab.training.settings import TransferSettings

STAGES: dict[str, Any] = {"curriculum": {"stages": [{"type": "diffusion"}]}}
"""One stage, so that a batch is a function of its step alone."""
STABILITY = {"rollback_after": 3, "max_rollbacks": 2}


@pytest.mark.parametrize(
    ("factor", "words"),
    [(NAN, "the loss is nan"), (INF, "the loss is inf"), (1e30, "the norm of the gradient is inf")],
)
def test_one_bad_batch_is_left_out_and_changes_nothing_else(corpus: TokenCorpus, factor: float, words: str) -> None:
    made = recipe(**STAGES, model={"dropout": 0.1}, training={"gradient_accumulation_steps": 2})
    loop = poisoned_loop(made, corpus, {7: factor})
    events = list(loop.run())
    assert_same_state(loop, by_hand(made, corpus, [step for step in range(20) if step != 7]))
    (event,) = of_kind(events, StepSkipped)
    assert (event.skip.first, event.skip.last, event.skip.stage, event.skip.words) == (7, 7, 0, words)
    assert event.skipped_steps == 1 and not of_kind(events, RolledBack)
    last = of_kind(events, RunFinished)[0]
    assert (last.iteration, last.chars, last.stability.skipped_steps) == (20, 20 * 8 * 32, 1)
    steps = of_kind(events, StepDone)
    assert [s.iteration for s in steps] == [1, *range(2, 21, 2)]
    assert all(math.isfinite(s.loss) and math.isfinite(s.grad_norm) for s in steps)
    assert [s.skipped_steps for s in steps] == [int(s.iteration >= 8) for s in steps]


def test_a_run_without_trouble_is_the_same_as_one_that_nobody_watches(corpus: TokenCorpus) -> None:
    made = recipe(**STAGES, model={"dropout": 0.1})
    loop = poisoned_loop(made, corpus, {})
    events = list(loop.run())
    assert_same_state(loop, by_hand(made, corpus, range(20)))
    assert not of_kind(events, StepSkipped) and loop.position.stability.skipped_steps == 0


def test_figures_of_skipped_steps_enter_no_mean(corpus: TokenCorpus) -> None:
    clean, bad = (
        {e.iteration: e for e in of_kind(list(poisoned_loop(recipe(**STAGES), corpus, factors).run()), StepDone)}
        for factors in ({}, {3: NAN})
    )
    assert bad[2] == replace(clean[2], **{key: getattr(bad[2], key) for key in TIMES})
    one = {e.iteration: e for e in of_kind(list(poisoned_loop(recipe(**STAGES, training={"log_interval": 1}), corpus, {}).run()), StepDone)}
    assert bad[4].loss == pytest.approx(one[3].loss) and bad[4].grad_norm == pytest.approx(one[3].grad_norm)
    assert bad[4].chars == clean[4].chars and bad[4].mask_ratio == clean[4].mask_ratio


TIMES = ("chars_per_second", "data_wait_fraction", "elapsed_seconds", "remaining_seconds")


def test_an_interval_that_was_skipped_as_a_whole_shows_no_loss(corpus: TokenCorpus) -> None:
    events = list(poisoned_loop(recipe(**STAGES), corpus, {2: NAN, 3: NAN}).run())
    assert [e.iteration for e in of_kind(events, StepDone)] == [1, 2, *range(6, 21, 2)]
    made = recipe(**STAGES, training={"eval_interval": 2})
    evaluations = of_kind(list(poisoned_loop(made, corpus, {2: NAN, 3: NAN}).run()), EvaluationDone)
    assert [math.isnan(e.train_loss) for e in evaluations[:3]] == [False, True, False]


@pytest.mark.parametrize(("sigmas", "skipped"), [(20.0, 1), (None, 0), (1e5, 0)])
def test_a_spike_is_skipped(corpus: TokenCorpus, sigmas: float | None, skipped: int) -> None:
    made = recipe(**STAGES, stability={"spike_sigmas": sigmas, "spike_window": 8})
    loop = poisoned_loop(made, corpus, {15: 100.0})
    events = list(loop.run())
    assert [(e.skip.first, e.skip.cause) for e in of_kind(events, StepSkipped)] == [(15, "spike")] * skipped
    if skipped:
        assert_same_state(loop, by_hand(made, corpus, [step for step in range(20) if step != 15]))


def test_there_are_no_spikes_before_the_window_is_full(corpus: TokenCorpus) -> None:
    made = recipe(**STAGES, stability={"spike_window": 16})
    assert not of_kind(list(poisoned_loop(made, corpus, {15: 100.0}).run()), StepSkipped)


def test_a_stage_that_begins_knows_no_spikes(corpus: TokenCorpus) -> None:
    """The stages change at iteration 8, as the window is full; the loss of the second one is weighted a thousand times."""
    made = recipe(stability={"spike_window": 8})
    factors = dict.fromkeys(range(8, 20), 1e3)
    assert not of_kind(list(poisoned_loop(made, corpus, factors).run()), StepSkipped)
    one_stage = recipe(**STAGES, stability={"spike_window": 8, "rollback_after": 100})
    assert len(of_kind(list(poisoned_loop(one_stage, corpus, factors).run()), StepSkipped)) > 0


def test_many_in_a_row_take_the_run_back_and_on_with_the_next_batches(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(**STAGES, stability=STABILITY)
    loop = poisoned_loop(made, corpus, {14: NAN, 15: NAN, 16: NAN}, CheckpointStore(tmp_path, {}))
    events = list(loop.run())
    (back,) = of_kind(events, RolledBack)
    assert (back.iteration, back.rollback.to, back.number) == (18, 12, 1)
    assert "steps 14 to 16 in stage 0" in back.rollback.words and "nan" in back.rollback.words
    # the weights of 12, which has not seen batches 12, 13 and 17 either, then the batches from 18 on
    assert_same_state(loop, by_hand(made, corpus, [*range(12), 18, 19]))
    last = of_kind(events, RunFinished)[0]
    assert (last.iteration, last.chars) == (20, 20 * 4 * 32)
    assert [e.iteration for e in of_kind(events, EvaluationDone)] == [4, 8, 12, 16, 20]
    assert last.stability.rollbacks == (back.rollback,)


def test_a_checkpoint_made_while_steps_are_skipped_is_none_to_go_back_to(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(**STAGES, training={"eval_interval": 1, "max_iters": 16}, stability={**STABILITY, "rollback_after": 6})
    events = list(poisoned_loop(made, corpus, dict.fromkeys(range(5, 11), NAN), CheckpointStore(tmp_path, {})).run())
    assert [(e.iteration, e.rollback.to) for e in of_kind(events, RolledBack)] == [(11, 5)]


def test_where_the_good_checkpoint_is_damaged_it_goes_back_to_the_newest(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(**STAGES, stability=STABILITY)
    loop = poisoned_loop(made, corpus, {14: NAN, 15: NAN, 16: NAN}, CheckpointStore(tmp_path, {}, beside=False))
    events = []
    for event in loop.run():
        events.append(event)
        if isinstance(event, CheckpointSaved) and event.iteration == 16:
            (tmp_path / "step_000000012" / "state.json").write_text("{}")
    assert [(e.iteration, e.rollback.to) for e in of_kind(events, RolledBack)] == [(18, 16)]


@pytest.mark.parametrize("with_store", [False, True])
def test_before_the_first_checkpoint_it_goes_back_to_the_first_weights(corpus: TokenCorpus, tmp_path: Path, with_store: bool) -> None:
    made = recipe(**STAGES, training={"eval_interval": 10}, stability=STABILITY)
    loop = poisoned_loop(made, corpus, {4: NAN, 5: NAN, 6: NAN}, CheckpointStore(tmp_path, {}) if with_store else None)
    (back,) = of_kind(list(loop.run()), RolledBack)
    assert (back.iteration, back.rollback.to) == (9, 0)
    assert_same_state(loop, by_hand(made, corpus, range(9, 20)))


def test_going_back_may_lower_the_learning_rate(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(**STAGES, training={"max_iters": 24}, stability={**STABILITY, "rollback_lr_factor": 0.5})
    factors = dict.fromkeys([9, 10, 11, 15, 16, 17], NAN)
    loop = poisoned_loop(made, corpus, factors, CheckpointStore(tmp_path, {}))
    backs = of_kind(list(loop.run()), RolledBack)
    assert [(b.iteration, b.rollback.to, b.rollback.lr_factor) for b in backs] == [(12, 8, 0.5), (18, 12, 0.25)]
    rates = dict.fromkeys(range(18, 24), 0.25)
    # the weights of 12 are those of 8
    assert_same_state(loop, by_hand(made, corpus, [*range(8), *range(18, 24)], rates=rates))


def test_what_is_never_finite_stops_within_the_bound_and_names_batch_and_step(corpus: TokenCorpus, tmp_path: Path, told: Any) -> None:
    made = recipe(**STAGES, training={"max_iters": 100}, stability=STABILITY)
    loop = poisoned_loop(made, corpus, dict.fromkeys(range(6, 100), NAN), CheckpointStore(tmp_path, {}))
    events = []
    with pytest.raises(InstabilityError) as caught:
        for event in loop.run():
            events.append(event)
    assert isinstance(caught.value, UserError)
    assert len(of_kind(events, RolledBack)) == 2
    assert loop.position.iteration <= 6 + (2 + 1) * (2 * 3 - 1)
    message = str(caught.value)
    for words in ("steps 6 to 14 in stage 0", "the loss is nan", "2 times", "stability.max_rollbacks=2", "training.learning_rate"):
        assert words in message
    assert "\n" not in message
    told(f"instability: a permanent NaN from step 6 on stopped at iteration {loop.position.iteration}, after 2 rollbacks: {message}")


def test_a_run_may_be_told_never_to_go_back(corpus: TokenCorpus) -> None:
    made = recipe(**STAGES, stability={"rollback_after": 1, "max_rollbacks": 0})
    with pytest.raises(InstabilityError, match=r"iteration 6: batch of step 5 in stage 0 .*may not go back"):
        list(poisoned_loop(made, corpus, {5: NAN}).run())


def test_a_weight_that_is_not_finite_takes_the_run_back(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(**STAGES)
    loop = poisoned_loop(made, corpus, {}, CheckpointStore(tmp_path, {}))
    events = []
    for event in loop.run():
        events.append(event)
        if isinstance(event, StepDone) and event.iteration == 14:
            with torch.no_grad():
                next(loop.model.parameters())[0, 0] = INF
    (back,) = of_kind(events, RolledBack)
    assert (back.iteration, back.rollback.to) == (16, 12)
    assert "a weight" in back.rollback.words and "step 15" in back.rollback.words
    assert_same_state(loop, by_hand(made, corpus, [*range(12), *range(16, 20)]))


def test_the_curriculum_goes_back_too(corpus: TokenCorpus, tmp_path: Path) -> None:
    """Stage 1 begins at iteration 8; its first steps fail, and the last checkpoint, of iteration 6, lies in stage 0."""
    made = recipe(training={"checkpoint_interval": 6}, stability=STABILITY)
    loop = poisoned_loop(made, corpus, {8: NAN, 9: NAN, 10: NAN}, CheckpointStore(tmp_path, {}))
    events = list(loop.run())
    (back,) = of_kind(events, RolledBack)
    assert (back.iteration, back.stage, back.rollback.to) == (12, 0, 6)
    # the evaluation at 12 ends stage 0 again
    stages = {step: int(step >= 12) for step in range(20)}
    assert_same_state(loop, by_hand(made, corpus, [*range(6), *range(12, 20)], stages))


def test_going_back_behind_the_unfreezing_trains_all_weights_with_the_moments_of_then(corpus: TokenCorpus, tmp_path: Path) -> None:
    """Only the head is trained up to step 8; the run goes back at 12, to 6, and on with all weights."""
    made = recipe(**STAGES, model={"tied_head": False}, training={"checkpoint_interval": 6}, stability=STABILITY)
    transfer = TransferSettings(mode="feature_extraction", unfreeze_at_iter=8, unfreeze_warmup_iters=3)
    made = replace(made, transfer=transfer)
    loop = poisoned_loop(made, corpus, {9: NAN, 10: NAN, 11: NAN}, CheckpointStore(tmp_path, {}))
    events = list(loop.run())
    assert [(e.iteration, e.rollback.to) for e in of_kind(events, RolledBack)] == [(12, 6)]
    learner, maker = poisoned_loop(made, corpus, {}).learner, made.batch_maker(corpus)
    for step in (*range(6), *range(12, 20)):
        if step == 12:
            learner.unfreeze()
        learner.stepper.take(maker.make(BatchKey(0, step)), learning_rate(made.training, step, step / 20), transfer.thaw(step))
    assert_same_state(loop, (learner.model, learner.stepper.optimizer))


def test_overflows_of_float16_are_counted_apart_and_find_their_scale(corpus: TokenCorpus) -> None:
    made = recipe(**STAGES, stability={"rollback_after": 2})
    precision = Precision(torch.device("cpu"), torch.float16)
    loop = poisoned_loop(made, corpus, {}, precision=precision)
    loop.stepper.scaler._init_scale = 2.0**36
    events = list(loop.run())
    stability = loop.position.stability
    assert stability.overflows > 2 and stability.skipped_steps == 0 and not of_kind(events, RolledBack)
    assert loop.stepper.scaler.get_scale() == 2.0 ** (36 - stability.overflows)
    state = loop.stepper.optimizer.state[next(loop.model.parameters())]
    assert state["step"] == 20 - stability.overflows


def test_a_nan_in_float16_is_no_overflow(corpus: TokenCorpus) -> None:
    loop = poisoned_loop(recipe(**STAGES), corpus, {7: NAN}, precision=Precision(torch.device("cpu"), torch.float16))
    assert [e.skip.first for e in of_kind(list(loop.run()), StepSkipped)] == [7]


class BlindEvaluator:
    """Finds no number at the second evaluation and at the last."""

    def __init__(self, evaluator: Any) -> None:
        self.evaluator, self.count = evaluator, 0

    def evaluate(self, model: Any, stage: int, final: bool = False) -> Any:
        self.count += 1
        seen = self.evaluator.evaluate(model, stage, final)
        if self.count != 2:
            return seen
        stages = tuple(replace(score, loss=NAN) for score in seen.stages)
        return replace(seen, stages=stages, loss=NAN, nelbo=replace(seen.nelbo, nats=NAN, stderr=NAN, bpc=NAN))


def test_a_validation_loss_that_is_no_number_is_no_improvement_and_fits_in_json(corpus: TokenCorpus, tmp_path: Path) -> None:
    loop = poisoned_loop(recipe(**STAGES), corpus, {}, CheckpointStore(tmp_path, {}))
    loop.evaluator = BlindEvaluator(loop.evaluator)  # type: ignore[assignment]
    best = []
    for event in loop.run():
        if isinstance(event, EvaluationDone):
            best.append(event.progress.best_loss)
        if isinstance(event, CheckpointSaved):
            json.loads((event.path / "state.json").read_text(), parse_constant=pytest.fail)
    assert all(map(math.isfinite, best)) and best[1] == best[0]


def test_weights_that_say_nothing_but_nan_are_none_to_go_back_to(corpus: TokenCorpus, tmp_path: Path) -> None:
    loop = poisoned_loop(recipe(**STAGES, stability=STABILITY), corpus, {9: NAN, 10: NAN, 11: NAN}, CheckpointStore(tmp_path, {}))
    loop.evaluator = BlindEvaluator(loop.evaluator)  # type: ignore[assignment]
    events = list(loop.run())
    assert [math.isfinite(e.evaluation.loss) for e in of_kind(events, EvaluationDone)][:2] == [True, False]
    assert [(e.iteration, e.rollback.to) for e in of_kind(events, RolledBack)] == [(12, 4)]


def test_the_flag_that_a_gpu_sets_stands_for_reading_it(corpus: TokenCorpus) -> None:
    """On the CPU: with the flag down an update is what it is without one, with the flag up it leaves all as it is."""
    made = recipe(**STAGES)
    one, other = (poisoned_loop(made, corpus, {}) for _ in range(2))
    for loop in (one, other):
        loop.stepper.take(loop.source.take(BatchKey(0, 0)), 1e-3)
        for i, parameter in enumerate(loop.stepper.parameters):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i))
    one.stepper.optimizer.step()
    other.stepper._update_unread(torch.tensor(True))
    assert_same_state(one, (other.model, other.stepper.optimizer))
    for parameter in other.stepper.parameters:
        parameter.grad = torch.full_like(parameter, NAN)
    other.stepper._update_unread(torch.tensor(False))
    assert_same_state(one, (other.model, other.stepper.optimizer))


@pytest.mark.gpu
def test_on_a_gpu_one_bad_batch_is_left_out_without_a_word_to_the_host(corpus: TokenCorpus) -> None:
    device = torch.device("cuda")
    made = recipe(**STAGES, system={"device": "cuda", "dtype": "float32"})
    loop = poisoned_loop(made, corpus, {7: NAN}, precision=Precision(device, torch.float32))
    update = loop.stepper._update_unread

    def watched(taken: torch.Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            update(taken)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    object.__setattr__(loop.stepper, "_update_unread", watched)
    assert [e.skip.first for e in of_kind(list(loop.run()), StepSkipped)] == [7]
    ours, theirs = state_of(loop.model, loop.stepper.optimizer), state_of(*by_hand(made, corpus, [*range(7), *range(8, 20)], device="cuda"))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
