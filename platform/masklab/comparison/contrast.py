"""Contrasts: one arm against a baseline, with the evidence: difference, interval, tests, power and verdict.

All statements are about seeds: what other first weights and other batches of the same recipe would give, scored on the same frozen
pools. The pools' masks and windows have an error of their own, which all runs share and which more seeds do not reduce.

Power: the paired t statistic follows a noncentral t with n - 1 degrees of freedom when the true difference is not zero (Cohen 1988,
"Statistical power analysis for the behavioral sciences", section 2.2). The deviation is itself an estimate: from 5 seeds it is often
wrong by a third, and the number of seeds by its square.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

from masklab.comparison.interval import interval
from masklab.comparison.outcomes import Outcomes
from masklab.comparison.paired_difference import PairedDifference, holm, paired_t, sign_flip
from masklab.errors import UserError

ALPHA = 0.05
FEWEST_SEEDS = 3
"""With fewer seeds the variance of the differences cannot be estimated, so no verdict is given."""
POWER = 0.8
"""Default probability of finding the difference in question significant."""
MOST_SEEDS = 10_000


class Verdict(Enum):
    """Conclusion about an arm compared with its baseline."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"
    TOO_FEW_SEEDS = "too few seeds"


@dataclass(frozen=True)
class Contrast:
    """`arm` minus `baseline` over the `seeds` that both have, in `unit`; below zero where the arm is better."""

    arm: str
    baseline: str
    unit: str
    seeds: tuple[int, ...]
    asked: int
    """Number of seeds of the whole table; more than `seeds` where runs of this pair are missing."""
    difference: float
    stderr: float
    percent: float | None
    """The difference in percent of the baseline's mean."""
    low: float
    high: float
    level: float
    """Confidence level of the interval from `low` to `high`, for this pair alone: not corrected for the other pairs."""
    p: float
    """p value of the paired t test."""
    p_holm: float
    """`p`, corrected for all `pairs` of the report by Holm's method."""
    p_sign_flip: float | None
    """p value of the exact sign-flip test, uncorrected; None for more seeds than it can enumerate."""
    pairs: int
    margin: float
    """The smallest difference that matters."""
    detectable: float | None
    """The smallest difference that this number of seeds detects with probability 0.8; None where the differences have no spread."""
    seeds_needed: int | None
    """Seeds that detect a difference of `margin` (or of `difference` if the margin is 0) with probability 0.8, at least
    `FEWEST_SEEDS`; None above `MOST_SEEDS`, and where the differences have no spread."""
    verdict: Verdict


def contrasts(outcomes: Outcomes, pairs: Iterable[tuple[str, str]], *, alpha: float = ALPHA, margin: float = 0.0) -> tuple[Contrast, ...]:
    """Every pair (arm, baseline) of a report, its tests corrected together.

    `detectable` and `seeds_needed` use `alpha` divided by the number of pairs, the first and strictest step of Holm's method. Raises
    UserError for a pair with fewer than two common seeds, a pair named twice, and an arm against itself.
    """
    pairs = tuple(pairs)
    for arm, baseline in pairs:
        if arm == baseline or pairs.count((arm, baseline)) > 1:
            raise UserError(f"{arm} against {baseline}: compare each arm with another one, once")
    if not 0 < alpha < 1 or not margin >= 0:
        raise UserError(f"alpha {alpha:g} must lie between 0 and 1, and margin {margin:g} be at least 0")
    differences = [outcomes.difference(arm, baseline) for arm, baseline in pairs]
    raw = [paired_t(difference.values) for difference in differences]
    return tuple(
        _contrast(outcomes, pair, difference, p, float(corrected), len(pairs), alpha, margin)
        for pair, difference, p, corrected in zip(pairs, differences, raw, holm(raw), strict=True)
    )


def _contrast(
    outcomes: Outcomes,
    pair: tuple[str, str],
    difference: PairedDifference,
    p: float,
    p_holm: float,
    pairs: int,
    alpha: float,
    margin: float,
) -> Contrast:
    values, deviation, n = difference.values, difference.deviation, len(difference)
    low, high = interval(values, 1 - alpha)
    smallest = detectable(deviation, n, alpha / pairs) if deviation else None
    needed = seeds_needed(margin or difference.mean, deviation, alpha / pairs) if deviation else None
    return Contrast(
        arm=pair[0],
        baseline=pair[1],
        unit=outcomes.unit,
        seeds=difference.seeds,
        asked=len(outcomes.seeds),
        difference=difference.mean,
        stderr=difference.stderr,
        percent=difference.percent,
        low=low,
        high=high,
        level=1 - alpha,
        p=p,
        p_holm=p_holm,
        p_sign_flip=sign_flip(values),
        pairs=pairs,
        margin=margin,
        detectable=smallest,
        seeds_needed=None if needed is None else max(needed, FEWEST_SEEDS),
        verdict=verdict_on(n, p_holm, (low, high), smallest, alpha, margin),
    )


def verdict_on(seeds: int, p_holm: float, ends: tuple[float, float], detectable: float | None, alpha: float, margin: float) -> Verdict:
    """Better or worse if the corrected test is significant and the whole interval, given by its `ends`, lies beyond the margin.

    Otherwise too few seeds, if a difference of a `margin` above 0 is neither detectable with these seeds nor excluded by the interval;
    else not distinguishable, which does not mean that the arms are equal.
    """
    low, high = ends
    if seeds < FEWEST_SEEDS:
        return Verdict.TOO_FEW_SEEDS
    if p_holm <= alpha and high < -margin:
        return Verdict.BETTER
    if p_holm <= alpha and low > margin:
        return Verdict.WORSE
    ruled_out = -margin < low and high < margin
    if margin > 0 and not ruled_out and detectable is not None and detectable > margin:
        return Verdict.TOO_FEW_SEEDS
    return Verdict.NOT_DISTINGUISHABLE


def power(effect: float, seeds: int, alpha: float) -> float:
    """Probability that the two-sided paired t test with `seeds` >= 2 at `alpha` detects a true difference of `effect` deviations."""
    degrees, shift = seeds - 1, abs(effect) * math.sqrt(seeds)
    limit = float(student.isf(alpha / 2, degrees))
    # a t on the wrong side needs a normal below -shift: negligible past 4, where scipy's tail becomes nan
    wrong_side = float(nct.cdf(-limit, degrees, shift)) if shift < 4 else 0.0
    return float(nct.sf(limit, degrees, shift)) + wrong_side


def seeds_needed(difference: float, deviation: float, alpha: float, wanted: float = POWER) -> int | None:
    """The fewest seeds that detect `difference`, given the `deviation` > 0 of the differences; None above `MOST_SEEDS`."""
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
    """The smallest true difference that `seeds` detect with probability `wanted`, given the `deviation` > 0 of the differences."""
    highest = 1.0
    while power(highest, seeds, alpha) < wanted:
        highest *= 2
    return deviation * float(brentq(lambda effect: power(effect, seeds, alpha) - wanted, 0.0, highest, xtol=1e-9))
