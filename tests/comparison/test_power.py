"""Power against simulation, and the two planning figures against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from masklab.comparison.contrast import MOST_SEEDS, detectable, power, seeds_needed


@pytest.mark.parametrize(("effect", "seeds", "alpha"), [(1.0, 5, 0.05), (2.0, 5, 0.05), (2.0, 5, 0.01), (0.8, 15, 0.05), (-1.5, 8, 0.05)])
def test_power_is_how_often_the_t_test_finds_the_effect(effect: float, seeds: int, alpha: float) -> None:
    tables = np.random.default_rng(seeds).standard_normal((20_000, seeds)) + effect
    found = (stats.ttest_1samp(tables, 0, axis=1).pvalue <= alpha).mean()
    assert power(effect, seeds, alpha) == pytest.approx(found, abs=0.011)


def test_without_an_effect_power_is_alpha() -> None:
    assert power(0.0, 5, 0.05) == pytest.approx(0.05)


def test_a_textbook_number_of_seeds() -> None:
    # an effect of half a deviation at 5 % and 80 % takes 34 pairs (Cohen 1988, table 2.4.1, read for one sample)
    assert seeds_needed(0.5, 1.0, 0.05) == 34
    assert seeds_needed(0.05, 0.1, 0.05) == 34


@settings(deadline=None)
@given(st.floats(0.05, 20), st.sampled_from([0.05, 0.01, 0.005, 0.001]))
def test_the_number_of_seeds_is_the_least_that_is_enough(effect: float, alpha: float) -> None:
    needed = seeds_needed(effect, 1.0, alpha)
    assert needed is not None and power(effect, needed, alpha) >= 0.8
    assert needed == 2 or power(effect, needed - 1, alpha) < 0.8


@settings(deadline=None)
@given(st.integers(2, 60), st.sampled_from([0.05, 0.01, 0.001]), st.floats(1e-4, 10))
def test_the_detectable_difference_is_found_four_times_in_five(seeds: int, alpha: float, deviation: float) -> None:
    smallest = detectable(deviation, seeds, alpha)
    assert power(smallest / deviation, seeds, alpha) == pytest.approx(0.8, abs=1e-6)


def test_a_difference_that_no_number_of_seeds_shows_has_none() -> None:
    assert seeds_needed(0.0, 1.0, 0.05) is None
    assert seeds_needed(0.001, 1.0, 0.05) is None
    assert power(0.001, MOST_SEEDS, 0.05) < 0.8


@pytest.mark.parametrize("seeds", [2, 5, 100, 10_000])
@pytest.mark.parametrize("alpha", [0.05, 1e-4])
def test_power_is_a_probability_that_rises_with_the_effect(seeds: int, alpha: float) -> None:
    powers = [power(effect, seeds, alpha) for effect in np.geomspace(1e-3, 60, 30)]
    assert np.isfinite(powers).all() and min(powers) >= 0 and max(powers) <= 1
    assert (np.diff(powers) >= -1e-9).all()
