"""The table of final figures: pairing by seed, and runs that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.comparison.outcomes import Outcomes
from masklab.comparison.paired_difference import PairedDifference
from masklab.errors import UserError

TABLE = Outcomes.of({"sticky": {1: 2.5, 2: 2.7, 3: None}, "uniform": {3: 2.1, 2: 2.2, 1: 2.0}})


def test_a_failed_run_is_missing_and_leaves_its_seed_out_of_the_pairs() -> None:
    assert (TABLE.arms, TABLE.seeds, TABLE.missing) == (("sticky", "uniform"), (1, 2, 3), (("sticky", 3),))
    assert TABLE.common_seeds("sticky", "uniform") == (1, 2)
    difference = TABLE.difference("sticky", "uniform")
    assert difference.seeds == (1, 2)
    np.testing.assert_allclose(difference.values, [0.5, 0.5])
    assert TABLE.mean("sticky") == pytest.approx(2.6)


def test_an_arm_without_any_figure_has_no_mean() -> None:
    assert Outcomes.of({"a": {1: None}, "b": {1: 1.0}}).mean("a") is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_refused_with_its_arm_and_seed(value: float) -> None:
    with pytest.raises(UserError, match="sticky, seed 7"):
        Outcomes.of({"sticky": {7: value}})


def test_fewer_than_two_common_seeds_are_refused_with_the_numbers() -> None:
    table = Outcomes.of({"sticky": {1: 2.5, 2: 2.6, 3: None}, "uniform": {1: 2.0, 2: None, 3: 2.0}})
    with pytest.raises(UserError, match=r"1 of 3 seeds in common \(2 and 2 finished runs\)"):
        table.difference("sticky", "uniform")


def test_an_unknown_arm_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'sticky'"):
        TABLE.difference("stiky", "uniform")


def test_figures_that_differ_by_rounding_only_are_the_same() -> None:
    same = PairedDifference((1, 2), np.array([2.3, 0.1 + 0.2]), np.array([2.3 + 4e-16, 0.3]))
    assert (same.mean, same.deviation, same.percent) == (0.0, 0.0, 0.0)
    apart = PairedDifference((1, 2, 3), np.array([2.1, 2.2, 2.3]), np.array([2.0, 2.1, 2.2]))
    assert apart.deviation == apart.stderr == 0.0
    assert apart.mean == pytest.approx(0.1)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 9), st.tuples(st.floats(0.1, 9), st.floats(0.1, 9)), min_size=2), st.sets(st.integers(0, 9)))
def test_only_seeds_that_both_arms_have_count(runs: dict[int, tuple[float, float]], failed: set[int]) -> None:
    table = Outcomes.of({"a": {s: None if s in failed else x for s, (x, _) in runs.items()}, "b": {s: y for s, (_, y) in runs.items()}})
    left = sorted(set(runs) - failed)
    if len(left) < 2:
        with pytest.raises(UserError, match="seeds in common"):
            table.difference("a", "b")
        return
    difference = table.difference("a", "b")
    assert difference.seeds == tuple(left)
    np.testing.assert_allclose(difference.values, [runs[s][0] - runs[s][1] for s in left], atol=1e-7)
    assert difference.mean == pytest.approx(-table.difference("b", "a").mean, abs=1e-7)
