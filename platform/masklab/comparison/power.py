"""How small a difference a number of seeds can show, and how many seeds a difference needs.

The paired t statistic follows a noncentral t of n - 1 degrees when the true difference is not zero (Cohen 1988, "Statistical power
analysis for the behavioral sciences", section 2.2). The deviation is itself an estimate: from 5 seeds it is often wrong by a
third, and the number of seeds by its square.
"""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

POWER = 0.8
"""How probable it is, unless told otherwise, that the difference in question is found significant."""
MOST_SEEDS = 10_000


def power(effect: float, seeds: int, alpha: float) -> float:
    """Probability that the two-sided paired t test of `seeds` >= 2 at `alpha` finds a true difference of `effect` deviations."""
    degrees, shift = seeds - 1, abs(effect) * math.sqrt(seeds)
    limit = float(student.isf(alpha / 2, degrees))
    # a t on the wrong side asks for a normal below -shift; past 4 that is nothing, and scipy's tail turns into nan
    wrong_side = float(nct.cdf(-limit, degrees, shift)) if shift < 4 else 0.0
    return float(nct.sf(limit, degrees, shift)) + wrong_side


def seeds_needed(difference: float, deviation: float, alpha: float, wanted: float = POWER) -> int | None:
    """The fewest seeds that find `difference` with probability `wanted`; None when more than 10,000 would be needed.

    `deviation` is that of the paired differences, above 0.
    """
    effect = abs(difference) / deviation
    if effect == 0 or power(effect, MOST_SEEDS, alpha) < wanted:
        return None
    few, enough = 1, 2
    while power(effect, enough, alpha) < wanted:
        few, enough = enough, min(2 * enough, MOST_SEEDS)
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power(effect, middle, alpha) >= wanted else (middle, enough)
    return enough


def detectable(deviation: float, seeds: int, alpha: float, wanted: float = POWER) -> float:
    """The smallest true difference that `seeds` find with probability `wanted`, at a `deviation` above 0."""
    highest = 1.0
    while power(highest, seeds, alpha) < wanted:
        highest *= 2
    return deviation * float(brentq(lambda effect: power(effect, seeds, alpha) - wanted, 0.0, highest, xtol=1e-9))
