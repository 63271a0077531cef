"""Learning curves: interpolation, bands and the budget that a target takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from masklab.comparison.curves import Curve, band, common_grid, lasting_reach, reach, targets
from masklab.errors import UserError

FALLING = Curve.of([(100, 4.0), (200, 3.0), (400, 2.0)])
BOUNCING = Curve.of([(0, 4.0), (10, 2.0), (20, 3.0), (30, 1.0)])


def test_a_curve_is_straight_between_its_points_and_unknown_beyond_them() -> None:
    np.testing.assert_allclose(FALLING.at(np.array([50, 100, 150, 300, 500])), [np.nan, 4.0, 3.5, 2.5, np.nan])


def test_points_without_a_finite_figure_are_left_out() -> None:
    curve = Curve.of([(1, None), (2, 3.0), (3, math.nan), (4, 1.0), (5, math.inf)])
    assert curve.spent.tolist() == [2, 4]


@pytest.mark.parametrize("points", [[], [(1, None)], [(1, 2.0), (1, 3.0)], [(2, 2.0), (1, 3.0)]])
def test_a_curve_without_points_or_that_goes_back_is_refused(points: list[tuple[float, float | None]]) -> None:
    with pytest.raises(UserError):
        Curve.of(points)


def test_the_grid_is_what_all_curves_have() -> None:
    other = Curve.of([(150, 4.0), (500, 3.0)])
    assert common_grid([FALLING, other], 3).tolist() == [150, 275, 400]
    assert common_grid([Curve.of([(1, 2.0), (3, 1.0)]), Curve.of([(3, 2.0), (5, 1.0)])], 9).tolist() == [3]
    with pytest.raises(UserError, match="no budget in common"):
        common_grid([FALLING, Curve.of([(401, 1.0), (500, 1.0)])], 3)


def test_a_band_is_the_mean_and_its_standard_error_at_each_point() -> None:
    runs = [Curve(FALLING.spent, FALLING.value + shift) for shift in (0.0, 0.3, 0.6)]
    found = band(runs, common_grid(runs, 5))
    values = np.stack([run.at(found.grid) for run in runs])
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.stderr, stats.sem(values, axis=0))
    np.testing.assert_allclose((found.lowest, found.highest), (values.min(axis=0), values.max(axis=0)))
    reference = stats.t.interval(0.95, 2, values.mean(axis=0), stats.sem(values, axis=0))
    np.testing.assert_allclose(found.interval(), reference)


def test_the_band_of_one_run_has_no_width() -> None:
    found = band([FALLING], np.array([100.0, 300.0]))
    np.testing.assert_allclose(found.interval(), [found.mean, found.mean])


def test_the_difference_of_two_runs_keeps_the_points_of_both() -> None:
    difference = FALLING.minus(Curve.of([(150, 3.0), (300, 3.0), (900, 0.0)]))
    assert difference.spent.tolist() == [150, 200, 300, 400]
    np.testing.assert_allclose(difference.value, [0.5, 0.0, -0.5, -0.5])


@pytest.mark.parametrize(("target", "lasting"), [(5.0, 0), (4.0, 0), (3.0, 5), (2.5, 22.5), (1.0, 30), (0.9, None)])
def test_a_target_is_reached_for_good(target: float, lasting: float | None) -> None:
    assert lasting_reach(BOUNCING, target) == lasting


def test_a_curve_that_ends_above_the_target_has_not_reached_it_for_good() -> None:
    curve = Curve.of([(0, 3.0), (10, 1.0), (20, 2.0)])
    assert lasting_reach(curve, 1.5) is None


def test_runs_that_never_arrive_count_as_infinite_in_the_median() -> None:
    runs = [Curve.of([(0, 2.0), (10, end)]) for end in (1.0, 0.0, 1.9)]
    found = reach(runs, 1.0)
    assert (found.reached, found.runs, found.share, found.median) == (2, 3, 2 / 3, 10)
    assert reach(runs, 0.5).median is None and reach(runs, 0.5).reached == 1
    assert reach([BOUNCING], 2.5).median == 22.5


def test_targets_lie_within_what_the_runs_have_seen() -> None:
    assert targets([BOUNCING, FALLING], 2) == pytest.approx((3.0, 2.0))


@settings(deadline=None)
@given(st.lists(st.floats(0.5, 5), min_size=1, max_size=12), st.floats(0.4, 5.1))
def test_at_the_budget_of_a_target_the_curve_is_there(values: list[float], target: float) -> None:
    curve = Curve.of(list(enumerate(values)))
    lasting = lasting_reach(curve, target)
    assert (lasting is None) == (values[-1] > target)
    if lasting is not None:
        assert curve.at(np.array([lasting]))[0] <= target + 1e-6
        assert all(value <= target for spent, value in enumerate(values) if spent > lasting + 1e-9)
