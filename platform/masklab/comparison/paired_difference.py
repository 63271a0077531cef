"""Two arms under the same seeds: what one has above the other, seed by seed.

Two runs of a seed share their first weights, their windows and the pools that score them, so what a seed does to both cancels in
the difference. What is left over varies between seeds, and that is all that a comparison can see: the pools are the same under
every seed, so their own masks' error is in no difference between seeds and says how far the figure holds for other masks.

Shapes: n seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESOLUTION = 1e-9
"""Figures that differ by less than this part of themselves, or of a thousandth, are the same figure, rounded differently."""


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Final figures `arm` (n,) and `baseline` (n,) under the same `seeds`, at least two of them."""

    seeds: tuple[int, ...]
    arm: Floats
    baseline: Floats

    def __len__(self) -> int:
        """Number of seeds."""
        return len(self.seeds)

    @property
    def values(self) -> Floats:
        """Arm minus baseline (n,); where all are the same but for rounding, all are exactly the same."""
        difference = self.arm - self.baseline
        rounding = RESOLUTION * max(float(np.abs(self.arm).max()), float(np.abs(self.baseline).max()), 1e-3)
        difference = np.where(np.abs(difference) <= rounding, 0.0, difference)
        return np.full_like(difference, difference[0]) if np.ptp(difference) <= 2 * rounding else difference

    @property
    def mean(self) -> float:
        """The mean difference; below zero where the arm is better."""
        return float(self.values.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds; exactly 0 when all values are the same."""
        values = self.values
        return float(values.std(ddof=1)) if np.ptp(values) else 0.0

    @property
    def stderr(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(len(self))

    @property
    def percent(self) -> float | None:
        """The mean difference in percent of the baseline's mean; None for a baseline of 0."""
        whole = abs(float(self.baseline.mean()))
        return 100 * self.mean / whole if whole else None
