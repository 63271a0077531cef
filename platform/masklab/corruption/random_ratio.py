"""Independent positions at a ratio that each sequence draws for itself.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.masking import MaskDraw, Masking, Probability
from masklab.rng import RowStreams, Stream


class RandomRatio(Masking):
    """Each sequence draws a ratio r ~ U(min_ratio, max_ratio) and selects each of its positions with probability r."""

    type: Literal["random"] = "random"
    """Name of the masking strategy."""
    min_ratio: Probability = 0.0
    """Lowest mask ratio."""
    max_ratio: Probability
    """Highest mask ratio."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_ratio > self.max_ratio:
            raise ValueError(f"min_ratio {self.min_ratio:g} is above max_ratio {self.max_ratio:g}")
        return self

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of a row is its ratio r."""
        ratio = self.min_ratio + (self.max_ratio - self.min_ratio) * streams.uniforms(Stream.LEVEL, 1)[:, 0]
        return MaskDraw.at(bernoulli(streams.stream(Stream.MASK), ratio, block_size), ratio)

    def expected_ratio(self, block_size: int) -> float:
        return (self.min_ratio + self.max_ratio) / 2

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        return self.min_ratio, self.max_ratio

    def describe(self) -> str:
        if self.min_ratio == self.max_ratio:
            return f"random {self.min_ratio * 100:g} %"
        return f"random {self.min_ratio * 100:g}-{self.max_ratio * 100:g} %"
