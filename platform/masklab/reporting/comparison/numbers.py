"""The figures of a comparison as a person reads them. A minus sign is no hyphen, and what is missing is a dash."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from masklab.comparison.contrast import Contrast
from masklab.comparison.power import MOST_SEEDS
from masklab.reporting.numbers import fixed, si

MISSING = "–"


def decimals(stderr: float) -> int:
    """Decimals that show a standard error: four at least, six at most."""
    return min(max(4, -math.floor(math.log10(stderr))), 6) if stderr > 0 else 4


def signed(value: float, digits: int) -> str:
    """`+0.0310` or `−0.0310`; a rounded zero has no sign."""
    shown = f"{abs(value):.{digits}f}"
    return shown if float(shown) == 0 else f"{'+' if value > 0 else '−'}{shown}"


def probability(p: float | None) -> str:
    """`< 0.001`, `0.004`, `0.62`."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean ± standard deviation of the values that there are."""
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    mean = f"{statistics.fmean(known):.{digits}f}"
    return f"{mean} ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else mean


def mean_amount(values: Sequence[float | None]) -> str:
    """The mean of the values that there are, in three digits."""
    known = [value for value in values if value is not None]
    return amount_words(statistics.fmean(known)) if known else MISSING


def amount_words(value: float) -> str:
    """`812`, `31.4k`, `4.20M`; powers of ten for floating-point operations and the like."""
    if value < 1e12:
        return si(value)
    return f"{value:.2e}".replace("e+", "e")


def seeds_words(contrast: Contrast) -> str:
    """The seeds that would show such a difference."""
    if contrast.seeds_needed is None:
        return f"over {MOST_SEEDS:,}" if contrast.stderr else MISSING
    return f"{contrast.seeds_needed:,}"


def detectable_words(contrast: Contrast) -> str:
    """The smallest difference that these seeds would show."""
    return fixed(contrast.detectable, decimals(contrast.stderr))


def counted(n: int, noun: str) -> str:
    """`1 seed`, `5 seeds`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
