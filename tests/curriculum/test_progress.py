"""The state machine of a curriculum against hand-worked sequences of losses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.progress import Decision, Progress, StageLosses, Step, advance

IMPROVED, STALE, NEXT, FINISHED = Decision.IMPROVED, Decision.STALE, Decision.NEXT_STAGE, Decision.FINISHED


def curriculum(stages: int = 2, **keys: object) -> Curriculum:
    own = keys.pop("stage", {})
    return Curriculum.model_validate({"stages": [{"type": "random", "max_ratio": 0.3} | own for _ in range(stages)]} | keys)


def play(c: Curriculum, losses: list[float], budget: int | None = None) -> list[Step]:
    progress, steps = Progress(), []
    for i, loss in enumerate(losses, start=1):
        used = i / budget if budget else 0.0
        step = advance(progress, StageLosses(10 * i, (loss,) * len(c.pools), used), c)
        progress = step.progress
        steps.append(step)
    return steps


def decisions(steps: list[Step]) -> list[Decision]:
    return [s.decision for s in steps]


def test_a_stage_ends_when_its_patience_runs_out_and_the_next_starts_afresh() -> None:
    steps = play(curriculum(patience=2), [3.0, 2.0, 2.0, 2.5, 9.0, 8.0])
    assert decisions(steps) == [IMPROVED, IMPROVED, STALE, NEXT, IMPROVED, IMPROVED]
    begun = steps[3].progress
    assert (begun.stage, begun.stale_evaluations, begun.best_loss, begun.stage_began_at_iteration) == (1, 0, math.inf, 40)


def test_an_improvement_must_exceed_min_delta_strictly() -> None:
    steps = play(curriculum(patience=9, min_delta=0.5), [3.0, 2.5, 2.49])
    assert decisions(steps) == [IMPROVED, STALE, IMPROVED]
    assert steps[1].progress.best_loss == 3.0


def test_the_stale_count_restarts_after_an_improvement() -> None:
    assert decisions(play(curriculum(patience=2), [3, 3, 2, 2, 1, 1, 1])) == [IMPROVED, STALE, IMPROVED, STALE, IMPROVED, STALE, NEXT]


def test_the_last_stage_goes_on_by_default_and_stops_when_asked() -> None:
    assert decisions(play(curriculum(1, patience=1), [3, 3, 3])) == [IMPROVED, STALE, STALE]
    steps = play(curriculum(1, patience=1, stop_when_stale=True), [3, 3])
    assert decisions(steps) == [IMPROVED, FINISHED]
    assert steps[-1].progress.stopped


def test_a_stage_ends_at_its_own_iterations_even_while_improving() -> None:
    steps = play(curriculum(stage={"max_iters": 20}), [5, 4, 3, 2, 1])
    assert decisions(steps) == [IMPROVED, NEXT, IMPROVED, IMPROVED, IMPROVED]
    assert "max_iters 20" in steps[1].reason


def test_a_stage_ends_at_its_share_of_the_budget() -> None:
    steps = play(curriculum(3, stage={"max_share": 0.25}), [9, 8, 7, 6, 5, 4], budget=8)
    assert [s.progress.stage for s in steps] == [0, 1, 1, 2, 2, 2]


def test_a_stages_own_patience_and_min_delta_win_over_the_curriculums() -> None:
    c = Curriculum.model_validate(
        {"patience": 9, "min_delta": 1.0, "stages": [{"type": "random", "max_ratio": 0.3, "patience": 1, "min_delta": 0.0}]}
    )
    assert (c.patience_of(0), c.min_delta_of(0)) == (1, 0.0)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_counts_as_stale(loss: float) -> None:
    assert decisions(play(curriculum(patience=3), [loss, 2.0, loss])) == [STALE, IMPROVED, STALE]


def test_all_stages_watches_the_mean_and_current_stage_its_own_pool() -> None:
    figures = [StageLosses(10, (2.0, 4.0)), StageLosses(20, (1.5, 9.0))]
    for rule, expected in (("all_stages", STALE), ("current_stage", IMPROVED)):
        c = curriculum(patience=5, advance_on=rule)
        first = advance(Progress(), figures[0], c)
        assert advance(first.progress, figures[1], c).decision is expected


def test_progress_survives_json() -> None:
    for progress in (Progress(), Progress(2, 1, 1.25, 30, 0.5, True)):
        assert Progress.from_json(progress.to_json()) == progress


@given(st.lists(st.floats(0.1, 9), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_stages_only_rise_by_one_and_no_stage_outlives_its_patience(losses: list[float], stages: int, patience: int) -> None:
    steps = play(curriculum(stages, patience=patience), losses)
    numbers = [0] + [s.progress.stage for s in steps]
    for before, after, step in zip(numbers, numbers[1:], steps, strict=False):
        assert after - before == (step.decision is NEXT)
        if after < stages - 1:
            assert step.progress.stale_evaluations < patience


def test_mixing_names_the_stages_that_rows_come_from() -> None:
    assert curriculum(3).mixed_stages(1) == (1,)
    assert curriculum(3, mixing="cumulative").mixed_stages(1) == (0, 1)
    assert curriculum(3, mixing="all").mixed_stages(0) == (0, 1, 2)


def test_the_digest_tells_stages_apart_but_not_names() -> None:
    c = curriculum()
    assert c.digest() == c.model_copy(update={"name": "another"}).digest()
    assert c.digest() != curriculum(patience=6).digest()


def test_a_stage_reads_flat_and_is_written_back_flat() -> None:
    flat = curriculum(1, stage={"patience": 4}).model_dump(mode="json")["stages"][0]
    assert flat["type"] == "random" and flat["max_ratio"] == 0.3 and flat["patience"] == 4 and "masking" not in flat
    assert Curriculum.model_validate({"stages": [flat]}).stages[0].model_dump(mode="json") == flat


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"advance_over": [2]}, "numbered 0 to 1"),
        ({"advance_over": [-1]}, "numbered 0 to 1"),
        ({"advance_over": []}, "advance_over"),
        ({"advance_over": [0], "advance_on": "current_stage"}, "advance_on=all_stages"),
    ],
)
def test_only_validation_stages_that_are_there_can_decide(keys: dict[str, object], words: str) -> None:
    stages = [{"type": "random", "max_ratio": ratio} for ratio in (0.3, 0.7)]
    with pytest.raises(ValidationError, match=words):
        Curriculum.model_validate({"stages": stages} | keys)
