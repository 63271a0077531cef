"""Clustered positions with a mean run length of their own: a two-state Markov chain.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numba import njit
from pydantic import Field, model_validator

from masklab.corruption.masking import MaskDraw, Masking
from masklab.corruption.probability import Probability
from masklab.rng import UINT64, RowStreams, Stream, unit, word


@njit(cache=True)
def _chain(keys, block_size, ratio, begin, stay):  # type: ignore[no-untyped-def]
    selected = np.empty((keys.size, block_size), np.bool_)
    for b in range(keys.size):
        inside = unit(word(keys[b], UINT64(0))) < ratio
        selected[b, 0] = inside
        for t in range(1, block_size):
            u = unit(word(keys[b], UINT64(t)))
            # both compared, then one chosen: no branch for the processor to guess
            inside = (u < stay) & inside | (u < begin) & (not inside)
            selected[b, t] = inside
    return selected


class RunLength(Masking):
    """A stationary two-state chain along the sequence: it leaves a run with probability 1/m, and begins one with r / (m (1 - r))."""

    type: Literal["run_length"] = "run_length"
    """Which strategy this is."""
    mask_ratio: Probability
    """Stationary share r of selected positions; below 1."""
    mean_run: float = Field(ge=1)
    """Mean length m of the runs of selected positions, in characters."""

    @model_validator(mode="after")
    def _chain_exists(self) -> Self:
        if self.mask_ratio > self.mean_run * (1 - self.mask_ratio):
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
        selected = _chain(streams.stream(Stream.MASK), block_size, self.mask_ratio, self.begin, 1 - 1 / self.mean_run)
        return MaskDraw.at(selected, np.full(len(selected), self.mask_ratio))

    def expected_ratio(self, block_size: int) -> float:
        """The stationary ratio."""
        return self.mask_ratio

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        """The stationary ratio: rows scatter around it, and more so the longer the runs."""
        return self.mask_ratio, self.mask_ratio

    def describe(self) -> str:
        """E.g. `runs of 5, 40 %`."""
        return f"runs of {self.mean_run:g}, {self.mask_ratio * 100:g} %"
