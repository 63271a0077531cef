"""What the tests of masks share: streams, run lengths and comparisons of distributions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from masklab.rng import RowStreams, root_key

LEAST_P_VALUE = 1e-4
"""Keys are fixed, so a test that passes always passes; a true deviation of interest has p-values far below this."""


def streams(rows: int, seed: int = 0) -> RowStreams:
    """Streams of one batch of `rows` rows."""
    return RowStreams.of(root_key(seed), np.arange(rows), rows)


def run_starts(selected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B, T) bool: where a run of selected positions begins."""
    starts = selected.copy()
    starts[:, 1:] &= ~selected[:, :-1]
    return starts


def mean_run(selected: NDArray[np.bool_]) -> float:
    """Mean length of all runs of selected positions."""
    return float(selected.sum() / run_starts(selected).sum())


def p_value_of_counts(observed: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """Chi-square of observed counts against expected shares; outcomes expected fewer than 5 times are taken together."""
    wanted = expected / expected.sum() * observed.sum()
    assert observed[wanted == 0].sum() == 0
    rare = wanted < 5
    o, e = observed[~rare], wanted[~rare]
    if wanted[rare].sum() > 0:
        o, e = np.append(o, observed[rare].sum()), np.append(e, wanted[rare].sum())
    return float(stats.chisquare(o, e).pvalue) if len(o) > 1 else 1.0


def p_value_of_samples(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Chi-square of two samples of whole numbers having one distribution, in bins of at least ten of both together."""
    edges = np.unique(np.quantile(np.concatenate([a, b]), np.linspace(0, 1, 13)))
    edges[-1] += 1
    table = np.array([np.histogram(x, edges)[0] for x in (a, b)])
    table = table[:, table.sum(axis=0) >= 10]
    return float(stats.chi2_contingency(table).pvalue)
