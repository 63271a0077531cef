"""Learning curves over the budget spent: bands of several runs, and the budget that it takes to reach a target.

Runs are compared by budget, not by step, so that their intervals between evaluations may differ.

Shapes: N points of a curve, R runs, G points of a grid.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from masklab.errors import UserError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """`value` (N,) after `spent` (N,) of the budget, which rises strictly; lower is better. Linear between the points."""

    spent: Floats
    value: Floats

    @classmethod
    def of(cls, points: Iterable[tuple[float, float | None]]) -> Curve:
        """A curve through the points (budget spent, value) whose value is finite. Raises UserError when there are none."""
        kept = [(spent, value) for spent, value in points if value is not None and math.isfinite(value)]
        spent, value = np.array(kept, np.float64).reshape(-1, 2).T
        if not len(spent):
            raise UserError("a learning curve needs at least one evaluation with a finite value")
        if (np.diff(spent) <= 0).any():
            raise UserError(f"a learning curve's budget must rise from point to point, and does not in {spent.tolist()}")
        return cls(spent, value)

    def at(self, grid: Floats) -> Floats:
        """The value (G,) at the budgets `grid` (G,), nan beyond the first and last point."""
        return np.interp(grid, self.spent, self.value, left=np.nan, right=np.nan)

    def minus(self, other: Curve) -> Curve:
        """The difference of two runs under one seed, over the range that both have."""
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
    values = np.stack([curve.at(grid) for curve in curves])
    spread = values.std(axis=0, ddof=1) if len(curves) > 1 else np.zeros(len(grid))
    return Band(grid, values.mean(axis=0), spread / math.sqrt(len(curves)), values.min(axis=0), values.max(axis=0), len(curves))


def lasting_reach(curve: Curve, target: float) -> float | None:
    """The budget after which the curve stays at `target` or below until it ends; None if it ends above."""
    above = np.flatnonzero(curve.value > target)
    if not len(above):
        return float(curve.spent[0])
    return _crossing(curve, int(above[-1]) + 1, target) if above[-1] + 1 < len(curve.value) else None


def _crossing(curve: Curve, i: int, target: float) -> float:
    if i == 0:
        return float(curve.spent[0])
    (x0, x1), (y0, y1) = curve.spent[i - 1 : i + 1], curve.value[i - 1 : i + 1]
    return float(x0 + (x1 - x0) * (y0 - target) / (y0 - y1))


@dataclass(frozen=True)
class Reach:
    """How many of several runs reach one target, and on what budget."""

    target: float
    runs: int
    reached: int
    median: float | None
    """Median of the budgets, where a run that does not reach the target counts as infinite; None if the median is infinite."""

    @property
    def share(self) -> float:
        return self.reached / self.runs


def reach(curves: Sequence[Curve], target: float) -> Reach:
    """Which of the runs `curves` (R,) reach the `target` for good, and on what budget."""
    budgets = [lasting_reach(curve, target) for curve in curves]
    median = statistics.median([float("inf") if budget is None else budget for budget in budgets])
    return Reach(target, len(curves), sum(budget is not None for budget in budgets), None if median == float("inf") else median)


def targets(curves: Sequence[Curve], count: int) -> tuple[float, ...]:
    """`count` targets evenly spaced between the highest first value and the lowest value of all, exclusive, best last."""
    highest, lowest = max(curve.value[0] for curve in curves), min(curve.value.min() for curve in curves)
    return tuple(float(target) for target in np.linspace(highest, lowest, count + 2)[1:-1])
