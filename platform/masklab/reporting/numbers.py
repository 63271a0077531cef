"""Numbers as text, in sentences and tables alike. A minus sign is not a hyphen, and a dash stands for a missing value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masklab.comparison.contrast import Contrast  # loads scipy.stats, which a training run does not need

MISSING = "–"


def fixed(value: float | None, digits: int) -> str:
    """`0.031` or `−0.031`; a rounded zero has no sign."""
    if value is None:
        return MISSING
    shown = f"{value:.{digits}f}"
    return shown.lstrip("-") if float(shown) == 0 else shown.replace("-", "−")


def signed(value: float, digits: int) -> str:
    """`+0.031` or `−0.031`; a rounded zero has no sign."""
    shown = fixed(value, digits)
    return f"+{shown}" if value > 0 and float(shown) != 0 else shown


def si(value: float) -> str:
    """Three digits and a unit: 812, 31.4k, 4.20M."""
    if not math.isfinite(value):
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:.0f}"


def amount(value: float) -> str:
    """As `si`, with powers of ten from 1e12 on: 4.20M, 1.04e13."""
    return si(value) if value < 1e12 else f"{value:.2e}".replace("e+", "e")


def rate(value: float) -> str:
    """As `si`, but two digits below ten: 0.4, 0.037, 7.2."""
    return f"{value:.2g}" if 0 < abs(value) < 9.95 else si(value)


def duration(seconds: float | None) -> str:
    """`9 s`, `3:07`, `2:03:07`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the known values."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float | None], digits: int) -> str:
    """Mean ± standard deviation of the known values."""
    known = [value for value in values if value is not None]
    deviation = f" ± {fixed(statistics.stdev(known), digits)}" if len(known) > 1 else ""
    return fixed(mean_of(known), digits) + deviation


def probability(p: float | None, name: str = "") -> str:
    """`< 0.001`, `0.004`, `0.62`; with a name `p < 0.001`, `p = 0.004`."""
    if p is None:
        return MISSING
    shown = "< 0.001" if p < 0.001 else fixed(p, 3 if p < 0.1 else 2)
    if not name:
        return shown
    return f"{name} {shown}" if p < 0.001 else f"{name} = {shown}"


def decimals(size: float) -> int:
    """Decimals that show a number of this size: at least four, at most six."""
    return min(max(4, -math.floor(math.log10(size))), 6) if size else 4


def decimals_of(contrast: Contrast) -> int:
    """Decimals of all numbers of a contrast, in its sentence and in its row of a table."""
    return decimals(contrast.stderr or abs(contrast.difference))


def seeds_needed(contrast: Contrast) -> str:
    """How many seeds would show such a difference."""
    from masklab.comparison.contrast import MOST_SEEDS

    if contrast.seeds_needed is None:
        return f"over {MOST_SEEDS:,}" if contrast.stderr else MISSING
    return f"{contrast.seeds_needed:,}"


def seeds_used(contrast: Contrast) -> str:
    """`5`, or `3 of 5` where some seeds have no pair."""
    n = len(contrast.seeds)
    return f"{n}" if n == contrast.asked else f"{n} of {contrast.asked}"


TITLES = {
    "macro_f1": "macro F1",
    "rmse": "RMSE",
    "r_squared": "R²",
    "auroc": "AUROC",
    "replaced_share": "replaced",
    "calibration_error": "ECE",
    "constant_loss": "loss of a constant",
    "constant_balanced_accuracy": "balanced accuracy of a constant",
    "true_probability": "p(true char)",
    "model_vs_random": "p(true char) vs chance",
}
"""Titles of metrics that differ from their names."""
SHARES = ("accuracy", "true_probability", "balanced_accuracy", "constant_balanced_accuracy", "replaced_share", "macro_f1")
"""Metrics that are written as per cent."""


def title_of(metric: str) -> str:
    """The title of a metric in a table."""
    return TITLES.get(metric, metric.replace("_", " "))


def written(metric: str, value: float | None) -> str:
    """The value of a metric: per cent for a share, `8.06x` for a ratio, else four decimals."""
    if value is None:
        return MISSING
    if metric == "model_vs_random":
        return f"{fixed(value, 2)}x"
    return f"{value:.1%}" if metric in SHARES else fixed(value, 4)


def in_a_line(metrics: Mapping[str, float]) -> str:
    """The first metrics for a line of the log, e.g. `p(true char) vs chance 8.1x`."""
    if "model_vs_random" in metrics:
        return f"{title_of('model_vs_random')} {fixed(metrics['model_vs_random'], 1)}x"
    return "  ".join(f"{title_of(name)} {written(name, value)}" for name, value in list(metrics.items())[:3])
