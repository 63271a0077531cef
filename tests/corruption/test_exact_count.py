"""Exact counts and uniform subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_statistics import LEAST_P_VALUE, p_value_of_counts, streams
from scipy import stats

from masklab.corruption.exact_count import ExactCount, uniform_subset
from masklab.rng import Stream


@settings(deadline=None, max_examples=60)
@given(block_size=st.integers(1, 300), data=st.data())
def test_a_subset_has_its_exact_size(block_size: int, data: st.DataObject) -> None:
    count = np.array(data.draw(st.lists(st.integers(0, block_size), min_size=1, max_size=6)))
    selected = uniform_subset(streams(len(count)).stream(Stream.MASK), count, block_size)
    assert selected.shape == (len(count), block_size)
    assert (selected.sum(axis=1) == count).all()


@pytest.mark.parametrize(("block_size", "count"), [(6, 3), (7, 1), (5, 4)])
def test_every_subset_is_equally_likely(block_size: int, count: int) -> None:
    rows = 20_000
    drawn = uniform_subset(streams(rows).stream(Stream.MASK), np.full(rows, count), block_size) @ (1 << np.arange(block_size))
    expected = np.zeros(2**block_size)
    for subset in combinations(range(block_size), count):
        expected[sum(1 << t for t in subset)] = 1
    assert p_value_of_counts(np.bincount(drawn, minlength=2**block_size), expected) > LEAST_P_VALUE


def test_positions_and_pairs_of_long_subsets_are_even() -> None:
    rows, block_size, count = 20_000, 130, 47
    selected = uniform_subset(streams(rows).stream(Stream.MASK), np.full(rows, count), block_size)
    share = count / block_size
    z = (selected.mean(axis=0) - share) / np.sqrt(share * (1 - share) / rows)
    assert stats.kstest(z, "norm").pvalue > LEAST_P_VALUE
    pair = share * (count - 1) / (block_size - 1)
    for distance in (1, 63, 64, 65):
        together = (selected[:, distance:] & selected[:, :-distance]).mean()
        assert together == pytest.approx(pair, abs=0.002)


def test_counts_cover_one_to_all_evenly_and_set_probability_and_weight() -> None:
    block_size = 32
    draw = ExactCount().draw(streams(3 * block_size), block_size)
    count = draw.selected.sum(axis=1)
    assert np.bincount(count).tolist() == [0] + [3] * block_size
    np.testing.assert_allclose(draw.probability, count / block_size, rtol=1e-6)
    np.testing.assert_allclose(draw.elbo_weight, block_size / count, rtol=1e-6)
