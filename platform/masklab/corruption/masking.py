"""What every masking strategy has in common: it selects positions, and tells how likely each was to be selected.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.replacement import Replacement
from masklab.rng import RowStreams
from masklab.schema import Section


@dataclass(frozen=True)
class MaskDraw:
    """The positions that one draw selects.

    `selected` (B, T) bool. `probability` (B,) float32: the share of positions that the draw aims at, `1 - alpha_t` for a
    diffusion stage, k/T for an exact count; it is what a time-conditioned model is told and what `inverse_mask_prob` divides by.
    `elbo_weight` (B,) float32: `-alpha'_t / (1 - alpha_t)` for a diffusion stage (MDLM, Sahoo et al. 2024, eq. 10), otherwise
    `1 / probability`; 0 in a row where nothing can be selected.
    """

    selected: NDArray[np.bool_]
    probability: NDArray[np.float32]
    elbo_weight: NDArray[np.float32]

    @classmethod
    def at(cls, selected: NDArray[np.bool_], probability: NDArray[np.float64], slope: NDArray[np.float64] | float = 1.0) -> MaskDraw:
        """A draw at `probability` (B,) with ELBO weight `slope / probability`, and 0 where nothing can be selected.

        Below the least normal float32 that is as good as never, and the weight could be infinite.
        """
        selectable = probability >= np.finfo(np.float32).tiny
        weight = np.divide(slope, probability, out=np.zeros_like(probability), where=selectable)
        return cls(selected, probability.astype(np.float32), weight.astype(np.float32))


class Masking(Section):
    """A distribution over sets of positions: frozen configuration that also masks."""

    replacement: Replacement = Replacement()
    """What replaces a selected position: shares of the mask token, of a random character, and of positions left unchanged."""

    @abstractmethod
    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions in the rows (B,) of `streams`, T = `block_size` each. Pure: the same streams, the same draw."""

    @abstractmethod
    def expected_ratio(self, block_size: int) -> float:
        """The mean share of selected positions, in [0, 1]: what the realised ratio of a pool is held against."""

    @abstractmethod
    def ratio_range(self, block_size: int) -> tuple[float, float]:
        """The lowest and highest share of positions that rows of this strategy are trained at."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for tables, e.g. `sticky 40 % (start 0.2, extend 0.8)`."""
