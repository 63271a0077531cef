"""Clustered positions with a mean run length of their own: a two-state Markov chain.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from masklab.corruption.masking import MaskDraw, Masking, Probability
from masklab.rng import UINT64, RowStreams, Stream, word


@njit(cache=True)
def _chain(keys, block_size, below_ratio, below_begin, below_stay):  # type: ignore[no-untyped-def]
    selected = np.empty((keys.size, block_size), np.bool_)
    for b in range(keys.size):
        limit = below_ratio
        for t in range(block_size):
            inside = word(keys[b], UINT64(t)) < limit
            selected[b, t] = inside
            limit = below_stay if inside else below_begin
    return selected


def _limit(p: float) -> np.uint64:
    return UINT64(min(int(p * 2.0**64), 2**64 - 1))


class RunLength(Masking):
    """A stationary two-state chain along the sequence: it leaves a run with probability 1/m, and begins one with r / (m (1 - r))."""

    type: Literal["run_length"] = "run_length"
    """Name of the masking strategy."""
    mask_ratio: Probability
    """Expected share of masked positions (r), below 1."""
    mean_run: float = Field(ge=1)
    """Mean length of a masked run, a contiguous masked stretch (m), in characters."""

    @model_validator(mode="after")
    def _chain_exists(self) -> Self:
        # 0.9 and 9 fit exactly, and 9 * (1 - 0.9) is 0.8999999999999998 in binary
        if self.mask_ratio > self.mean_run * (1 - self.mask_ratio) + 1e-9:
            highest = self.mean_run / (1 + self.mean_run)
            raise ValueError(
                f"mask_ratio {self.mask_ratio:g} with mean_run {self.mean_run:g} leaves gaps shorter than one character; "
                f"lower mask_ratio to {highest:.3g} at most, or raise mean_run"
            )
        return self

    @property
    def begin(self) -> float:
        """Probability that a run begins at a position whose left neighbour is not selected."""
        return self.mask_ratio / (self.mean_run * (1 - self.mask_ratio))

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of every row is the stationary ratio."""
        limits = (_limit(p) for p in (self.mask_ratio, self.begin, 1 - 1 / self.mean_run))
        selected = _chain(streams.stream(Stream.MASK), block_size, *limits)
        return MaskDraw.at(selected, np.full(len(selected), self.mask_ratio))

    def expected_ratio(self, block_size: int) -> float:
        return self.mask_ratio

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        return self.mask_ratio, self.mask_ratio

    def describe(self) -> str:
        return f"runs of {self.mean_run:g}, {self.mask_ratio * 100:g} %"
