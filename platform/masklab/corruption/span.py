"""Spans between sorted uniform end points.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from pydantic import Field

from masklab.corruption.masking import MaskDraw, Masking
from masklab.rng import RowStreams, Stream


@njit(cache=True)
def _fill(ends, block_size):  # type: ignore[no-untyped-def]
    selected = np.zeros((ends.shape[0], block_size), np.bool_)
    for b in range(ends.shape[0]):
        for s in range(0, ends.shape[1], 2):
            selected[b, ends[b, s] : ends[b, s + 1] + 1] = True
    return selected


class Span(Masking):
    """2n end points, uniform and independent; sorted and paired in turn, each pair bounds an inclusive span."""

    type: Literal["span"] = "span"
    """Name of the masking strategy."""
    spans_count: int = Field(ge=1)
    """Number of spans. Spans may touch or share an end point."""

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select the spans; the probability of every row is the expected ratio."""
        u = streams.uniforms(Stream.SPAN, 2 * self.spans_count)
        ends = np.sort(np.minimum((u * block_size).astype(np.int64), block_size - 1), axis=1)
        return MaskDraw.at(_fill(ends, block_size), np.full(len(ends), self.expected_ratio(block_size)))

    def expected_ratio(self, block_size: int) -> float:
        """The mean over positions i of 1 - (((T-1)/T)^2n + ((T-1-2i)/T)^2n) / 2.

        Position i is free when no end point lies on it and an even number of them lies before it.
        """
        n, i = 2 * self.spans_count, np.arange(block_size)
        free = (((block_size - 1) / block_size) ** n + ((block_size - 1 - 2 * i) / block_size) ** n) / 2
        return float(1.0 - free.mean())

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        n, mean = self.spans_count, self.expected_ratio(block_size)
        spread = 2 * (n / 2) ** 0.5 / (2 * n + 1)
        return max(1 / block_size, mean - spread), min(1.0, mean + spread)

    def describe(self) -> str:
        return f"{self.spans_count} span{'s' if self.spans_count > 1 else ''}"
