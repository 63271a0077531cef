"""The table behind a comparison: one final value for each run, of several arms under the same seeds.

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
    """`values` (A, S) in `unit`, lower is better, with nan for a run that is missing."""

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Floats
    unit: str = "nats per character"

    @classmethod
    def of(cls, values: Mapping[str, Mapping[int, float | None]], unit: str = "nats per character") -> Outcomes:
        """The table of `{arm: {seed: value}}`; a run that failed is None, or is left out.

        Raises UserError for a value that is not finite: a run that diverged has failed, and must be shown as missing.
        """
        for arm, runs in values.items():
            for seed, value in runs.items():
                if value is not None and not math.isfinite(value):
                    raise UserError(f"{arm}, seed {seed}: the final value is {value}; leave failed runs out of the comparison")
        arms, seeds = tuple(values), tuple(sorted({seed for runs in values.values() for seed in runs}))
        table = np.full((len(arms), len(seeds)), np.nan)
        for row, arm in enumerate(arms):
            for column, seed in enumerate(seeds):
                value = values[arm].get(seed)
                table[row, column] = np.nan if value is None else value
        return cls(arms, seeds, table, unit)

    @property
    def missing(self) -> tuple[tuple[str, int], ...]:
        return tuple((self.arms[row], self.seeds[column]) for row, column in np.argwhere(np.isnan(self.values)))

    def values_of(self, arm: str) -> Floats:
        """The row (S,) of `arm`. Raises UserError when there is no such arm."""
        if arm not in self.arms:
            raise UserError(f"{arm}: no such arm; there are {', '.join(self.arms) or 'none'}{did_you_mean(arm, self.arms)}")
        return np.asarray(self.values[self.arms.index(arm)])

    def mean(self, arm: str) -> float | None:
        """The mean over the finished runs of `arm`; None without any."""
        row = self.values_of(arm)
        return None if np.isnan(row).all() else float(np.nanmean(row))

    def common_seeds(self, arm: str, baseline: str) -> tuple[int, ...]:
        """The seeds under which both arms have a value."""
        both = ~np.isnan(self.values_of(arm)) & ~np.isnan(self.values_of(baseline))
        return tuple(seed for seed, has in zip(self.seeds, both, strict=True) if has)

    def difference(self, arm: str, baseline: str) -> PairedDifference:
        """`arm` minus `baseline`, seed by seed. Raises UserError for fewer than two common seeds."""
        seeds = self.common_seeds(arm, baseline)
        if len(seeds) < 2:
            counts = [int((~np.isnan(self.values_of(name))).sum()) for name in (arm, baseline)]
            raise UserError(
                f"{arm} and {baseline} have {len(seeds)} of {len(self.seeds)} seeds in common ({counts[0]} and {counts[1]} finished runs); "
                "a comparison needs at least 2, and 5 to say much"
            )
        both = [self.seeds.index(seed) for seed in seeds]
        return PairedDifference(seeds, self.values_of(arm)[both], self.values_of(baseline)[both])
