"""Learning curves over the budget spent, so that runs with other steps between evaluations can still be laid over each other.

Shapes: N points of a curve, R runs, G points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from masklab.errors import UserError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """`figure` (N,) after `spent` (N,) of the budget, which rises strictly; the lower the figure the better. Straight in between."""

    spent: Floats
    figure: Floats

    @classmethod
    def of(cls, points: Iterable[tuple[float, float | None]]) -> Curve:
        """A curve through (budget spent, figure), without those that have no finite figure. Raises UserError when none is left."""
        kept = [(spent, figure) for spent, figure in points if figure is not None and math.isfinite(figure)]
        spent, figure = np.array(kept, np.float64).reshape(-1, 2).T
        if not len(spent):
            raise UserError("a learning curve needs at least one evaluation with a finite figure")
        if (np.diff(spent) <= 0).any():
            raise UserError(f"a learning curve's budget must rise from point to point, and does not in {spent.tolist()}")
        return cls(spent, figure)

    def at(self, grid: Floats) -> Floats:
        """The figure (G,) at the budgets `grid` (G,), nan beyond the first and last point."""
        return np.interp(grid, self.spent, self.figure, left=np.nan, right=np.nan)

    def minus(self, other: Curve) -> Curve:
        """This curve above the other, over the range that both have: for two runs under one seed."""
        inside = common_grid([self, other], 2)
        grid = np.union1d(inside, np.concatenate([self.spent, other.spent]))
        grid = grid[(grid >= inside[0]) & (grid <= inside[-1])]
        return Curve(grid, self.at(grid) - other.at(grid))


@dataclass(frozen=True, eq=False)
class Band:
    """Several runs at each point of a `grid` (G,): their `mean`, its `stderr` (0 for one run), the `lowest` and the `highest` (G,)."""

    grid: Floats
    mean: Floats
    stderr: Floats
    lowest: Floats
    highest: Floats
    runs: int

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Student's interval (G,), (G,) for the mean at each point by itself; not for the whole curve at once."""
        reach = self.stderr * (student.isf((1 - level) / 2, self.runs - 1) if self.runs > 1 else 0.0)
        return self.mean - reach, self.mean + reach


def common_grid(curves: Sequence[Curve], points: int) -> Floats:
    """Evenly spaced budgets (G,) over the range that all curves have. Raises UserError when there is none."""
    first, last = max(curve.spent[0] for curve in curves), min(curve.spent[-1] for curve in curves)
    if first > last:
        raise UserError(f"learning curves that have no budget in common: one ends at {last:g} and one begins at {first:g}")
    return np.linspace(first, last, points) if last > first else np.array([first])


def band(curves: Sequence[Curve], grid: Floats) -> Band:
    """The mean and spread of `curves` on a `grid` (G,) that lies within all of them."""
    figures = np.stack([curve.at(grid) for curve in curves])
    spread = figures.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(grid))
    return Band(grid, figures.mean(axis=0), spread / math.sqrt(len(curves)), figures.min(axis=0), figures.max(axis=0), len(curves))
