"""What a comparison concludes about one pair."""

from __future__ import annotations

from enum import Enum

FEWEST_SEEDS = 3
"""Below this nothing can be seen of the differences' spread but one number, and no conclusion is drawn."""


class Verdict(Enum):
    """Of an arm, beside its baseline."""

    BETTER = "better"
    WORSE = "worse"
    NOT_DISTINGUISHABLE = "not distinguishable"
    TOO_FEW_SEEDS = "too few seeds"


def verdict_on(seeds: int, p_holm: float, ends: tuple[float, float], detectable: float | None, alpha: float, margin: float) -> Verdict:
    """Better or worse: significant after the correction, and with the whole interval (its two `ends`) beyond the margin.

    Otherwise too few seeds, if they could well have missed a difference of a `margin` above 0 and do not rule it out either; else
    not distinguishable, which never says that two arms are equal.
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
