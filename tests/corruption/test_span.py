"""Spans against brute force over all end points."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from mask_statistics import LEAST_P_VALUE, p_value_of_counts, streams

from masklab.corruption.span import Span


def masks_by_enumeration(block_size: int, spans: int) -> np.ndarray:
    """Probability of each of the 2^T masks (bit t = position t)."""
    counts = np.zeros(2**block_size)
    for ends in product(range(block_size), repeat=2 * spans):
        ordered = sorted(ends)
        covered = {t for a, b in zip(ordered[::2], ordered[1::2], strict=True) for t in range(a, b + 1)}
        counts[sum(1 << t for t in covered)] += 1
    return counts / counts.sum()


@pytest.mark.parametrize(("block_size", "spans"), [(1, 1), (2, 3), (5, 1), (6, 2), (4, 3)])
def test_every_mask_is_as_likely_as_enumeration_says(block_size: int, spans: int) -> None:
    expected = masks_by_enumeration(block_size, spans)
    drawn = Span(spans_count=spans).draw(streams(20_000), block_size).selected @ (1 << np.arange(block_size))
    assert p_value_of_counts(np.bincount(drawn, minlength=2**block_size), expected) > LEAST_P_VALUE
    ratios = np.array([mask.bit_count() / block_size for mask in range(2**block_size)])
    assert Span(spans_count=spans).expected_ratio(block_size) == pytest.approx(float(ratios @ expected), abs=1e-12)


def test_there_are_never_more_runs_than_spans() -> None:
    selected = Span(spans_count=4).draw(streams(200), 300).selected
    runs = (selected & ~np.pad(selected, ((0, 0), (1, 0)))[:, :-1]).sum(axis=1)
    assert runs.min() >= 1
    assert runs.max() == 4
