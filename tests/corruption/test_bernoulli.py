"""Independent positions drawn bit-parallel."""

from __future__ import annotations

import numpy as np
import pytest
from mask_statistics import LEAST_P_VALUE, p_value_of_counts, streams
from scipy import stats

from masklab.corruption.bernoulli import bernoulli, uniform_integers
from masklab.rng import Stream


@pytest.mark.parametrize("p", [0.02, 0.2, 0.5, 1 / 3, 0.75, 0.98])
def test_counts_are_binomial_and_positions_independent(p: float) -> None:
    rows, block_size = 4000, 200
    selected = bernoulli(streams(rows).stream(Stream.MASK), p, block_size)
    count = np.bincount(selected.sum(axis=1), minlength=block_size + 1)
    assert p_value_of_counts(count, stats.binom.pmf(np.arange(block_size + 1), block_size, p) + 1e-300) > LEAST_P_VALUE
    for distance in (1, 8, 63, 64, 65, 128):
        a, b = selected[:, distance:].ravel(), selected[:, :-distance].ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) * a.size**0.5 < 4.5
    assert abs(np.corrcoef(selected[1:].ravel(), selected[:-1].ravel())[0, 1]) * selected.size**0.5 < 4.5


def test_zero_selects_nothing_and_one_everything() -> None:
    selected = bernoulli(streams(3).stream(Stream.MASK), np.array([0.0, 1.0, 2.0**-70]), 300)
    assert selected.sum(axis=1).tolist() == [0, 300, 0]


def test_integers_are_even_and_only_where_asked() -> None:
    where = np.zeros((2000, 20), bool)
    where[:, ::2] = True
    drawn = uniform_integers(streams(2000).stream(Stream.REPLACEMENT), where, 7)
    assert (drawn[~where] == 0).all()
    assert p_value_of_counts(np.bincount(drawn[where], minlength=7), np.ones(7)) > LEAST_P_VALUE
