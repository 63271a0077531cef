"""No masks at all: the one stage of a mode that corrupts nothing.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from masklab.corruption.masking import MaskDraw, Masking
from masklab.rng import RowStreams


class Unmasked(Masking):
    """Selects nothing."""

    type: Literal["none"] = "none"
    """Name of the masking strategy."""

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """No position, in any row."""
        rows = len(streams.keys)
        return MaskDraw.at(np.zeros((rows, block_size), bool), np.zeros(rows))

    def expected_ratio(self, block_size: int) -> float:
        return 0.0

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        return 0.0, 0.0

    def describe(self) -> str:
        return "no masks"
