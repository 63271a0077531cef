"""Contrasts: an arm against a baseline, with everything that a reader needs to believe it or not.

All that is said is about seeds: what other first weights and other batches of the same recipe would give, judged by the same frozen
pools. The pools' masks and windows have an error of their own, which all runs share and which no number of seeds takes away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from masklab.comparison.interval import interval
from masklab.comparison.outcomes import Outcomes
from masklab.comparison.paired_difference import PairedDifference
from masklab.comparison.paired_test import holm, paired_t, sign_flip
from masklab.comparison.power import detectable, seeds_needed
from masklab.comparison.verdict import FEWEST_SEEDS, Verdict, verdict_on
from masklab.errors import UserError

ALPHA = 0.05


@dataclass(frozen=True)
class Contrast:
    """`arm` minus `baseline` over the `seeds` that both have, in `unit`; below zero where the arm is better."""

    arm: str
    baseline: str
    unit: str
    seeds: tuple[int, ...]
    asked: int
    """Seeds of the whole table; those beyond `seeds` are missing here."""
    difference: float
    stderr: float
    percent: float | None
    """The difference in percent of the baseline's mean."""
    low: float
    high: float
    level: float
    """Of the interval from `low` to `high`: for this pair alone, not corrected for the others."""
    p: float
    """Of the paired t test."""
    p_holm: float
    """The same, corrected for all `pairs` of the report."""
    p_sign_flip: float | None
    """Of the exact sign-flip test, uncorrected."""
    pairs: int
    margin: float
    """The smallest difference that matters."""
    detectable: float | None
    """The smallest difference that this many seeds find in four of five reports; None where the seeds do not differ."""
    seeds_needed: int | None
    """Seeds that find a difference of `margin`, or where that is 0 one as large as this, in four of five reports; never
    fewer than a verdict takes, None for no number."""
    verdict: Verdict


def contrasts(outcomes: Outcomes, pairs: Iterable[tuple[str, str]], *, alpha: float = ALPHA, margin: float = 0.0) -> tuple[Contrast, ...]:
    """Every pair (arm, baseline) of a report, its tests corrected together.

    Planning figures stand on `alpha` over the number of pairs, Holm's first and hardest step. Raises UserError for a pair with
    fewer than two common seeds, a pair named twice, and an arm against itself.
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
