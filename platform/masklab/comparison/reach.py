"""How much of the budget it takes to reach a target: what a learning curve says to who pays for it.

Shapes: R runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masklab.comparison.curves import Curve


def first_reach(curve: Curve, target: float) -> float | None:
    """The budget at which the curve first comes down to `target`, on the straight line between two evaluations; None if it never does.

    A curve that begins at the target or below has reached it at its first point at the latest.
    """
    below = np.flatnonzero(curve.figure <= target)
    return _crossing(curve, int(below[0]), target) if len(below) else None


def lasting_reach(curve: Curve, target: float) -> float | None:
    """The budget from which on the curve stays at `target` or below until it ends; None if it ends above."""
    above = np.flatnonzero(curve.figure > target)
    if not len(above):
        return float(curve.spent[0])
    return _crossing(curve, int(above[-1]) + 1, target) if above[-1] + 1 < len(curve.figure) else None


def _crossing(curve: Curve, i: int, target: float) -> float:
    """Where the line to point `i`, which is not above the target, comes down to it; the point itself for the first one."""
    if i == 0:
        return float(curve.spent[0])
    (x0, x1), (y0, y1) = curve.spent[i - 1 : i + 1], curve.figure[i - 1 : i + 1]
    return float(x0 + (x1 - x0) * (y0 - target) / (y0 - y1))


@dataclass(frozen=True)
class Reach:
    """How several runs fared with one target."""

    target: float
    runs: int
    reached: int
    median: float | None
    """Of the budgets, a run that never gets there counting as infinite; None where that makes the median infinite."""

    @property
    def share(self) -> float:
        """Share of the runs that reached the target."""
        return self.reached / self.runs


def reach(curves: Sequence[Curve], target: float, lasting: bool = False) -> Reach:
    """How the runs `curves` (R,) fared: when they first reached the `target`, or, if `lasting`, for good."""
    budgets = [(lasting_reach if lasting else first_reach)(curve, target) for curve in curves]
    median = statistics.median([float("inf") if budget is None else budget for budget in budgets])
    return Reach(target, len(curves), sum(budget is not None for budget in budgets), None if median == float("inf") else median)


def targets(curves: Sequence[Curve], count: int) -> tuple[float, ...]:
    """`count` targets evenly spaced between the highest first figure and the lowest figure of all, best last, without the two."""
    highest, lowest = max(curve.figure[0] for curve in curves), min(curve.figure.min() for curve in curves)
    return tuple(float(target) for target in np.linspace(highest, lowest, count + 2)[1:-1])
