"""The interval for a mean: how often it holds the truth, and what it does at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from masklab.comparison.interval import interval


def coverage(tables: np.ndarray) -> float:
    """Share of the rows (R, n), drawn with mean 0, whose interval holds 0."""
    ends = np.array([interval(row) for row in tables])
    return float(((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean())


def test_the_interval_of_five_normal_values_holds_the_mean_as_often_as_it_says() -> None:
    # 95 % nominal, a little above by the kernel; three standard errors of 1,000 repeats are 1.7 points
    assert 0.94 <= coverage(np.random.default_rng(5).standard_normal((1_000, 5))) <= 0.985


def test_on_skewed_values_it_holds_the_mean_more_often_than_students() -> None:
    rows = np.random.default_rng(6).exponential(size=(500, 5)) - 1
    student = (np.abs(rows.mean(axis=1)) <= stats.t.isf(0.025, 4) * rows.std(axis=1, ddof=1) / np.sqrt(5)).mean()
    assert coverage(rows) > student


def test_for_many_values_it_is_students_interval() -> None:
    values = np.random.default_rng(7).standard_normal(200)
    reference = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    np.testing.assert_allclose(interval(values), reference, atol=0.01)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_it_is_never_much_narrower_than_students(n: int) -> None:
    for values in np.random.default_rng(n).standard_normal((20, n)):
        low, high = interval(values)
        assert high - low > 0.85 * 2 * stats.t.isf(0.025, n - 1) * stats.sem(values)


def test_a_higher_level_is_wider() -> None:
    values = np.array([0.1, 0.4, 0.2, 0.25, 0.5])
    assert np.diff(interval(values, 0.9)) < np.diff(interval(values, 0.95)) < np.diff(interval(values, 0.99))


def test_values_without_spread_have_an_interval_of_one_point() -> None:
    assert interval(np.full(5, 0.1)) == (0.1, 0.1)


@settings(deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=12).filter(lambda x: len(set(x)) > 1), st.randoms(use_true_random=False))
def test_it_is_reproducible_finite_and_moves_with_the_values(drawn: list[int], order: object) -> None:
    values = np.array(drawn, np.float64)
    low, high = interval(values)
    assert np.isfinite([low, high]).all() and low < values.mean() < high
    assert (low, high) == interval(values)
    np.testing.assert_allclose(interval(3 * values + 7), (3 * low + 7, 3 * high + 7), rtol=1e-6, atol=1e-6)
    order.shuffle(drawn)  # type: ignore[attr-defined]
    np.testing.assert_allclose(interval(np.array(drawn, np.float64)), (low, high), rtol=1e-6, atol=1e-6)
