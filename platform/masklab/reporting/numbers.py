"""Numbers as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping


def fixed(value: float | None, digits: int) -> str:
    """Fixed digits, or a dash for a figure that is missing."""
    return "–" if value is None else f"{value:.{digits}f}"


def si(value: float) -> str:
    """Three digits and a unit: 812, 31.4k, 4.20M."""
    if not math.isfinite(value):
        return "–"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:.0f}"


def rate(value: float) -> str:
    """As `amount`, but two digits of what is below ten: 0.4, 0.037, 7.2."""
    return f"{value:.2g}" if 0 < abs(value) < 9.95 else si(value)


def duration(seconds: float | None) -> str:
    """`9 s`, `3:07`, `2:03:07`; a dash for what is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


NAMES = {
    "accuracy": "right",
    "macro_f1": "macro F1",
    "rmse": "RMSE",
    "r_squared": "R²",
    "auroc": "AUROC",
    "replaced_share": "replaced",
    "calibration_error": "ECE",
    "constant_loss": "loss of a constant",
    "constant_balanced_accuracy": "balanced accuracy of a constant",
    "true_probability": "p(true)",
    "model_vs_random": "true character, times as probable as by chance",
}
"""What tables say where that is shorter, or clearer, than the name of the metric."""
SHARES = ("accuracy", "true_probability", "balanced_accuracy", "constant_balanced_accuracy", "replaced_share", "macro_f1")
"""Figures that are written as per cent."""


def title_of(name: str) -> str:
    """What the figure `name` is called in a table."""
    return NAMES.get(name, name.replace("_", " "))


def written(name: str, value: float | None) -> str:
    """The figure `name` as a person reads it."""
    if value is None:
        return "–"
    return f"{value:.1%}" if name in SHARES else fixed(value, 2 if name == "model_vs_random" else 4)


def in_a_line(figures: Mapping[str, float]) -> str:
    """A few words for a line of the log, e.g. `8.1x random`."""
    if "model_vs_random" in figures:
        return f"{fixed(figures['model_vs_random'], 1)}x random"
    return "  ".join(f"{title_of(name)} {written(name, value)}" for name, value in list(figures.items())[:3])
