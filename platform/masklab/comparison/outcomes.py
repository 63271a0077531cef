"""The table that a comparison is judged by: one final figure a run, of several arms under the same seeds.

Shapes: A arms, S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.comparison.paired_difference import PairedDifference
from masklab.errors import UserError, did_you_mean

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """`figures` (A, S) in `unit`, the lower the better, with nan for a run that is missing."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    figures: Floats
    unit: str = "nats per character"

    @classmethod
    def of(cls, figures: Mapping[str, Mapping[int, float | None]], unit: str = "nats per character") -> Outcomes:
        """The table of `{arm: {seed: figure}}`; a run that failed is None, or is left out.

        Raises UserError for a figure that is not finite: a run that diverged has failed, and must be seen to be missing.
        """
        for arm, runs in figures.items():
            for seed, value in runs.items():
                if value is not None and not math.isfinite(value):
                    raise UserError(f"{arm}, seed {seed}: {value} is no final figure; leave a run that failed out of the comparison")
        arms, seeds = tuple(figures), tuple(sorted({seed for runs in figures.values() for seed in runs}))
        table = np.full((len(arms), len(seeds)), np.nan)
        for row, arm in enumerate(arms):
            for column, seed in enumerate(seeds):
                value = figures[arm].get(seed)
                table[row, column] = np.nan if value is None else value
        return cls(arms, seeds, table, unit)

    @property
    def missing(self) -> tuple[tuple[str, int], ...]:
        """Arm and seed of each run without a figure."""
        return tuple((self.arms[row], self.seeds[column]) for row, column in np.argwhere(np.isnan(self.figures)))

    def figures_of(self, arm: str) -> Floats:
        """The row (S,) of `arm`. Raises UserError when there is no such arm."""
        if arm not in self.arms:
            raise UserError(f"{arm}: no such arm; there are {', '.join(self.arms) or 'none'}{did_you_mean(arm, self.arms)}")
        return np.asarray(self.figures[self.arms.index(arm)])

    def mean(self, arm: str) -> float | None:
        """The mean over the runs that `arm` has; None when it has none."""
        row = self.figures_of(arm)
        return None if np.isnan(row).all() else float(np.nanmean(row))

    def common_seeds(self, arm: str, baseline: str) -> tuple[int, ...]:
        """The seeds under which both arms have a figure."""
        both = ~np.isnan(self.figures_of(arm)) & ~np.isnan(self.figures_of(baseline))
        return tuple(seed for seed, has in zip(self.seeds, both, strict=True) if has)

    def difference(self, arm: str, baseline: str) -> PairedDifference:
        """What `arm` has above `baseline`, seed by seed. Raises UserError for fewer than two common seeds."""
        seeds = self.common_seeds(arm, baseline)
        if len(seeds) < 2:
            counts = [int((~np.isnan(self.figures_of(name))).sum()) for name in (arm, baseline)]
            raise UserError(
                f"{arm} and {baseline} have {len(seeds)} of {len(self.seeds)} seeds in common ({counts[0]} and {counts[1]} finished runs); "
                "a comparison needs at least 2, and 5 to say much"
            )
        both = [self.seeds.index(seed) for seed in seeds]
        return PairedDifference(seeds, self.figures_of(arm)[both], self.figures_of(baseline)[both])
