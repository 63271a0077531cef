"""Each sign of trouble is told when it is there, once, and not told when it is not."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import run_story
from hypothesis import given
from hypothesis import strategies as st
from run_story import DIFFUSION, STICKY

from masklab.reporting.run.diagnostics import Diagnostics, RunWarning, ratio_holes
from masklab.reporting.run.run_info import StageInfo
from masklab.training.events import Event


def told(*events: Event, stages: tuple[StageInfo, ...] = (STICKY, DIFFUSION)) -> dict[str, RunWarning]:
    detector = Diagnostics(run_story.info(stages=stages))
    found = [trouble for event in events for trouble in detector.check(event)]
    assert len({trouble.kind for trouble in found}) == len(found), "each kind once"
    return {trouble.kind: trouble for trouble in found}


def test_a_healthy_run_is_left_in_peace() -> None:
    assert told(*run_story.story()) == {}


def test_a_model_little_better_than_chance_is_told_after_a_fair_number_of_iterations() -> None:
    assert "weak_model" not in told(run_story.evaluated(100, model_vs_random=1.2))
    assert "weak_model" not in told(run_story.evaluated(400, model_vs_random=2.0))
    events = [run_story.evaluated(i, model_vs_random=1.23) for i in (300, 400, 500)]
    assert "1.23 times" in told(*events)["weak_model"].words
    assert "weak_model" in told(run_story.finished(120, vs_random=1.5))
    assert "weak_model" not in told(run_story.finished(20, vs_random=1.5))


@pytest.mark.parametrize(
    ("figures", "confusion", "constant"),
    [
        ({"accuracy": 0.6}, ((3, 0), (2, 0)), True),
        ({"accuracy": 0.8}, ((3, 0), (1, 1)), False),
        ({"balanced_accuracy": 0.5}, (), True),
        ({"balanced_accuracy": 0.51}, (), False),
        ({"rmse": 3.0, "r_squared": -0.1}, (), True),
        ({"rmse": 1.0, "r_squared": 0.4}, (), False),
    ],
)
def test_labels_predicted_no_better_than_by_a_constant_are_told(
    figures: dict[str, float], confusion: tuple[tuple[int, ...], ...], constant: bool
) -> None:
    event = run_story.finished()
    evaluation = replace(event.evaluation, metrics=figures, confusion=confusion)
    assert ("no_better_than_a_constant" in told(replace(event, evaluation=evaluation))) == constant


def test_a_first_stage_that_outlives_half_of_the_budget_is_told() -> None:
    assert "slow_stage" not in told(run_story.evaluated(100, budget_used=0.5))
    assert "slow_stage" not in told(run_story.evaluated(100, budget_used=0.6, next_stage=1))
    assert "slow_stage" not in told(run_story.evaluated(100, (2.0,), budget_used=0.6), stages=(DIFFUSION,))
    assert "60% of the budget" in told(run_story.evaluated(100, budget_used=0.6))["slow_stage"].words


def test_stages_that_were_never_reached_are_named_at_the_end() -> None:
    assert "diffusion, linear" in told(run_story.finished(stage=0))["unreached_stages"].words
    assert "unreached_stages" not in told(run_story.finished(stage=1))


def test_a_stage_that_begins_as_the_run_ends_got_no_iterations() -> None:
    found = told(run_story.started(), run_story.advanced(400), run_story.finished(400, stage=1))
    assert "stage 1 (diffusion, linear) got no iterations: stage 1 began at iteration 400" in found["unreached_stages"].words
    assert "every 100 iterations; lower training.eval_interval" in found["unreached_stages"].words
    assert "untrained_ratios" in found
    assert "unreached_stages" not in told(run_story.advanced(300), run_story.finished(400, stage=1))


def test_stages_that_cannot_begin_are_told_at_the_start_and_not_again() -> None:
    detector = Diagnostics(replace(run_story.info(), unreachable=(1,)))
    first, *_ = (trouble for trouble in detector.check(run_story.started()) if trouble.kind == "unreachable_stages")
    assert "stage 1 (diffusion, linear) cannot begin within the budget" in first.words
    assert "unreached_stages" not in {trouble.kind for trouble in detector.check(run_story.finished(stage=0))}
    mixed = replace(run_story.info(), unreachable=(1,), mixed=((0, 1), (0, 1)))
    assert [t.kind for t in Diagnostics(mixed).check(run_story.started())] == ["cosmetic_progression"]


def test_a_run_that_ends_before_its_first_evaluation_is_told() -> None:
    assert "after 99 iterations, before the first evaluation at 100" in told(run_story.finished(99))["no_evaluation"].words
    assert "no_evaluation" not in told(run_story.finished(100))


def gap_run(validation: list[float], training: list[float]) -> list[Event]:
    pairs = zip(validation, training, strict=True)
    return [run_story.evaluated(100 * i, (v, 9.0), train_loss=t) for i, (v, t) in enumerate(pairs)]


def test_a_gap_that_widens_on_the_same_masks_is_told() -> None:
    words = told(*gap_run([2.0, 2.0, 2.02, 2.05], [1.98, 1.9, 1.8, 1.7]))["widening_gap"].words
    assert "0.350 nats above training loss" in words
    assert "0.330 more" in words


@pytest.mark.parametrize(
    ("validation", "training"),
    [
        ([2.5, 2.3, 2.2, 2.1, 2.0], [2.4, 2.2, 2.1, 2.0, 1.9]),  # a steady gap
        ([2.5, 2.3, 2.2, 2.1], [4.0, 3.0, 2.6, 2.2]),  # training loss lags while the model learns fast
        ([2.0, 2.1, 2.2], [1.9, 1.6, 1.3]),  # too few evaluations
        ([2.0, 2.1, 2.05, 2.2], [1.9, 1.8, 1.9, 1.8]),  # not at each evaluation
    ],
)
def test_a_gap_that_does_not_widen_is_not_told(validation: list[float], training: list[float]) -> None:
    assert "widening_gap" not in told(*gap_run(validation, training))


def test_a_change_of_stage_begins_the_watch_over_the_gap_anew() -> None:
    events: list[Event] = [
        run_story.evaluated(100, (2.0, 3.0), train_loss=1.99),
        run_story.evaluated(200, (2.0, 3.0), train_loss=1.9),
        run_story.evaluated(300, (2.0, 3.0), train_loss=1.8, next_stage=1),
        run_story.evaluated(400, (2.0, 3.0), train_loss=2.0, stage=1),
    ]
    assert "widening_gap" not in told(*events)


def test_a_mask_ratio_off_its_target_is_told_with_both() -> None:
    off = [run_story.step(i, mask_ratio=0.31) for i in range(10, 60, 10)]
    words = told(*off)["mask_ratio"].words
    assert "31.0%" in words
    assert "20.0%" in words
    near = [run_story.step(i, mask_ratio=0.215) for i in range(10, 60, 10)]
    assert "mask_ratio" not in told(*near)


def test_steps_across_a_stage_boundary_do_not_count_for_either_stage() -> None:
    before = [run_story.step(i) for i in range(10, 60, 10)]
    mixed = run_story.step(60, stage=1, mask_ratio=0.3)
    after = [run_story.step(i, stage=1, mask_ratio=0.5) for i in range(70, 120, 10)]
    assert "mask_ratio" not in told(*before, mixed, *after)


def test_a_curriculum_without_high_ratios_is_told_at_the_start_and_not_again() -> None:
    stages = (STICKY, StageInfo("sticky 75 %", 0.75, (0.2, 0.75)))
    found = told(run_story.started(), run_story.finished(stage=1), stages=stages)
    assert set(found) == {"untrained_ratios_planned"}
    assert "75% to 100%" in found["untrained_ratios_planned"].words
    assert "generation starts fully masked" in found["untrained_ratios_planned"].words
    assert "{type: diffusion}" in found["untrained_ratios_planned"].words


def test_stages_that_are_all_mixed_at_all_times_are_told_to_have_no_progression() -> None:
    mixed = replace(run_story.info(), mixed=((0, 1), (0, 1)))
    assert [t.kind for t in Diagnostics(mixed).check(run_story.started())] == ["cosmetic_progression"]
    assert not Diagnostics(replace(mixed, mixed=((0,), (0, 1)))).check(run_story.started())


def test_ratios_that_no_stage_reached_are_told_at_the_end() -> None:
    found = told(run_story.started(), run_story.finished(stage=0))
    assert "20% to 100%" in found["untrained_ratios"].words
    assert "see that the later stages are reached" in found["untrained_ratios"].words
    assert "untrained_ratios" not in told(run_story.started(), run_story.finished(stage=1))


def test_a_hole_below_the_top_is_another_matter() -> None:
    stages = (StageInfo("high", 0.8, (0.6, 1.0)),)
    words = told(run_story.started(), stages=stages)["untrained_ratios_planned"].words
    assert "0% to 60%" in words
    assert "fully masked" not in words


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_told(loss: float) -> None:
    assert told(run_story.step(10, loss=loss), run_story.step(20, loss=loss))["not_finite"].iteration == 10
    assert "not_finite" in told(run_story.evaluated(10, (loss, 1.0)))


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)).map(sorted), max_size=6), st.integers(1, 50))
def test_holes_are_what_a_fine_grid_says(ranges: list[list[int]], width: int) -> None:
    covered = {point for low, high in ranges for point in range(2 * low, 2 * high + 1)} | {0, 200}  # in half percents
    points = sorted(covered)
    expected = [pytest.approx((a / 200, b / 200)) for a, b in pairwise(points) if b - a > max(1, 2 * width)]
    assert ratio_holes([(low / 100, high / 100) for low, high in ranges], width / 100) == expected
