"""Masks that grow in rounds: a masked neighbour makes a position likelier to be masked in the next round.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from masklab.corruption.masking import MaskDraw, Masking
from masklab.corruption.probability import Probability
from masklab.rng import RowStreams, Stream, fold, uniforms


class Sticky(Masking):
    """Exactly `max(1, ceil(mask_ratio * T))` positions, grown in rounds."""

    type: Literal["sticky"] = "sticky"
    """Which strategy this is."""
    mask_ratio: Probability
    """Share of positions that is masked in every sequence, rounded up to whole positions; at least one."""
    p_start: Probability
    """Probability, each round, of a position without a masked neighbour."""
    p_extend: Probability
    """Probability, each round, of a position next to a masked one."""
    trim: Literal["random", "edges"] = "random"
    """Overshoot is taken back evenly from all masked positions, or from the ends of runs so that they stay whole."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.p_start == 0:
            raise ValueError("p_start 0 never masks a first position, so no mask_ratio can be reached; raise p_start")
        return self

    def count(self, block_size: int) -> int:
        """Masked positions in every sequence of T = `block_size`."""
        # 0.07 * 100 is 7.000000000000001 in binary, and must make 7
        return max(1, math.ceil(self.mask_ratio * block_size - 1e-9))

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of every row is count / T."""
        target = self.count(block_size)
        mask = self.grow(streams, block_size)
        order = np.where(mask, uniforms(streams.stream(Stream.TRIM), block_size), 2.0).argsort(axis=1).argsort(axis=1)
        return MaskDraw.at(order < target, np.full(len(mask), target / block_size))

    def grow(self, streams: RowStreams, block_size: int) -> NDArray[np.bool_]:
        """The masks (B, T) before trimming."""
        target, keys = self.count(block_size), streams.stream(Stream.MASK)
        mask = np.zeros((len(keys), block_size), bool)
        for number in range(100_000):
            growing = mask.sum(axis=1) < target
            if not growing.any():
                break
            near = np.zeros_like(mask)
            near[:, 1:] |= mask[:, :-1]
            near[:, :-1] |= mask[:, 1:]
            hit = uniforms(fold(keys, number), block_size) < np.where(near, self.p_extend, self.p_start)
            mask |= hit & growing[:, None]
        return mask

    def expected_ratio(self, block_size: int) -> float:
        """count / T, in every row."""
        return self.count(block_size) / block_size

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        """count / T, in every row."""
        ratio = self.expected_ratio(block_size)
        return ratio, ratio

    def describe(self) -> str:
        """E.g. `sticky 40 % (start 0.2, extend 0.8)`."""
        return f"sticky {self.mask_ratio * 100:g} % (start {self.p_start:g}, extend {self.p_extend:g})"
