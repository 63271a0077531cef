"""Masks that grow in rounds: a position with a masked neighbour has another probability than one without.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from masklab.corruption import sticky_growth
from masklab.corruption.masking import MaskDraw, Masking, Probability
from masklab.rng import RowStreams, Stream


def scattered_ceiling(p_start: float) -> float:
    """The share of a long sequence that is masked when growth without extension (p_extend = 0) ends.

    Two neighbours can be masked in one round, so this is 0.432 for small `p_start` (random sequential adsorption on a line; Flory
    1939), and rises to 1 with it. With q = 1 - p_start, two adjacent positions are both free after k rounds with probability
    a_k = prod_{j<k} (1 - p_start q^j)^2, three with a_k q^k; the middle one of three free positions is masked with p_start, and
    so the ceiling is p_start * sum_k a_k q^k.
    """
    total, free_pair, lone = 0.0, 1.0, 1.0
    # below this the sum is within 0.0003 of its limit, and takes too many terms
    p = max(p_start, 1e-3)
    while lone > 1e-12:
        total += p * free_pair * lone
        free_pair *= (1 - p * lone) ** 2
        lone *= 1 - p
    return total


class Sticky(Masking):
    """Exactly `max(1, ceil(mask_ratio * T))` masked positions in every sequence, grown in rounds.

    In a round every unmasked position is masked with probability `p_extend` if a neighbour of it was masked when the round began,
    else with `p_start`. A sequence that has reached its count stops, and overshoot is trimmed. A sequence that cannot grow to its
    count, which needs p_extend = 0, is restarted.
    """

    type: Literal["sticky"] = "sticky"
    """Name of the masking strategy."""
    mask_ratio: Probability
    """Share of positions masked in every sequence, rounded up to at least one position."""
    p_start: Probability
    """Probability per round that a position without a masked neighbour is masked."""
    p_extend: Probability
    """Probability per round that a position next to a masked one is masked."""
    trim: Literal["random", "edges"] = "random"
    """How surplus masks are removed: evenly from all masked positions, or from the ends of masked runs so that none is split."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.p_start == 0:
            raise ValueError("p_start 0 never masks a first position, so no mask_ratio can be reached; raise p_start above 0")
        if self.p_extend == 0 and self.mask_ratio > (ceiling := scattered_ceiling(self.p_start)):
            raise ValueError(
                f"mask_ratio {self.mask_ratio:g} is out of reach: with p_extend 0 only positions without a masked neighbour can be "
                f"masked, and with p_start {self.p_start:g} growth ends near {ceiling:.3f}; lower mask_ratio or raise p_extend above 0"
            )
        return self

    def count(self, block_size: int) -> int:
        """Masked positions in every sequence of T = `block_size`."""
        # 0.07 * 100 is 7.000000000000001 in binary, and must make 7
        return max(1, math.ceil(self.mask_ratio * block_size - 1e-9))

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of every row is count / T."""
        keys, trim_keys = streams.stream(Stream.MASK), streams.stream(Stream.TRIM)
        trim = sticky_growth.RANDOM if self.trim == "random" else sticky_growth.EDGES
        selected = sticky_growth.grow(keys, trim_keys, block_size, self.count(block_size), self.p_start, self.p_extend, trim)
        return MaskDraw.at(selected, np.full(len(selected), self.expected_ratio(block_size)))

    def expected_ratio(self, block_size: int) -> float:
        return self.count(block_size) / block_size

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        ratio = self.expected_ratio(block_size)
        return ratio, ratio

    def describe(self) -> str:
        return f"sticky {self.mask_ratio * 100:g} % (start {self.p_start:g}, extend {self.p_extend:g})"
