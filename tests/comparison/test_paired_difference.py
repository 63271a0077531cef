"""The tests against scipy's and against enumeration, and Holm's correction against his procedure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from masklab.comparison.paired_difference import holm, paired_t, sign_flip


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_paired_t_test_is_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    arm, baseline = rng.standard_normal(n) + 0.5, rng.standard_normal(n)
    assert paired_t(arm - baseline) == pytest.approx(stats.ttest_rel(arm, baseline).pvalue)


def test_without_spread_p_is_one_or_the_sign_flip_tests() -> None:
    assert paired_t(np.zeros(5)) == 1.0
    assert paired_t(np.full(5, 0.1)) == sign_flip(np.full(5, 0.1)) == 2 / 32


@pytest.mark.parametrize("n", [2, 3, 4, 7, 10])
def test_the_sign_flip_test_is_scipys_exact_permutation_test(n: int) -> None:
    values = np.random.default_rng(n).standard_normal(n) + 0.3
    reference = stats.permutation_test((values, np.zeros(n)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(values) == pytest.approx(reference.pvalue)


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_the_sign_flip_test_counts_ties_as_enumeration_does(values: list[int]) -> None:
    sums = [sum(s * v for s, v in zip(signs, values, strict=True)) for signs in itertools.product((1, -1), repeat=len(values))]
    expected = sum(abs(total) >= abs(sum(values)) for total in sums) / len(sums)
    assert sign_flip(np.array(values, np.float64)) == expected
    assert sign_flip(0.1 * np.array(values)) == expected


def test_five_signs_cannot_reach_five_percent_and_too_many_are_not_counted() -> None:
    assert sign_flip(np.array([1.0, 1.1, 0.9, 1.2, 1.05])) == 2 / 2**5
    assert sign_flip(np.linspace(1, 2, 20)) == 2 / 2**20
    assert sign_flip(np.ones(37)) is None


def test_holm_on_a_worked_example() -> None:
    # sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, the last no less than the one before it
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.2]), [0.2])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])
    assert len(holm([])) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_his_procedure_rejects(p: list[float], alpha: float) -> None:
    rejected: set[int] = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - step) > alpha:
            break
        rejected.add(i)
    assert {i for i, corrected in enumerate(holm(p)) if corrected <= alpha} == rejected
