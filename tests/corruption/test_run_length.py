"""The Markov chain of run_length: stationary share, run and gap lengths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from mask_statistics import LEAST_P_VALUE, mean_run, p_value_of_counts, streams

from masklab.corruption.run_length import RunLength


@pytest.mark.parametrize(("ratio", "mean"), [(0.15, 1.0), (0.4, 5.0), (0.5, 1.0), (0.5, 2.0), (0.75, 12.0), (0.9, 9.0)])
def test_share_is_stationary_and_runs_and_gaps_have_their_means(ratio: float, mean: float) -> None:
    selected = RunLength(mask_ratio=ratio, mean_run=mean).draw(streams(400), 4096).selected
    per_column = selected.mean(axis=0)
    assert selected.mean() == pytest.approx(ratio, abs=0.006)
    assert per_column[0] == pytest.approx(ratio, abs=0.1)
    assert per_column[-1] == pytest.approx(ratio, abs=0.1)
    assert mean_run(selected) == pytest.approx(mean, rel=0.02)
    assert mean_run(~selected) == pytest.approx(mean * (1 - ratio) / ratio, rel=0.02)


def test_every_mask_is_as_likely_as_the_chain_says() -> None:
    masking, size = RunLength(mask_ratio=0.4, mean_run=2.5), 6
    stay = {True: 1 - 1 / 2.5, False: 0.4 / (2.5 * 0.6)}
    expected = np.zeros(2**size)
    for mask in range(2**size):
        states = [bool((mask >> t) & 1) for t in range(size)]
        chance = 0.4 if states[0] else 0.6
        for before, now in pairwise(states):
            chance *= stay[before] if now else 1 - stay[before]
        expected[mask] = chance
    drawn = masking.draw(streams(30_000), size).selected @ (1 << np.arange(size))
    assert p_value_of_counts(np.bincount(drawn, minlength=2**size), expected) > LEAST_P_VALUE


def test_runs_of_one_at_half_alternate() -> None:
    selected = RunLength(mask_ratio=0.5, mean_run=1.0).draw(streams(20), 50).selected
    assert (selected[:, 1:] != selected[:, :-1]).all()
