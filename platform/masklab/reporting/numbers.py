"""Numbers as a person reads them."""

from __future__ import annotations

import math


def figure(value: float | None, digits: int) -> str:
    """Fixed digits, or a dash for a figure that is missing."""
    return "–" if value is None else f"{value:.{digits}f}"


def amount(value: float) -> str:
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
    return f"{value:.2g}" if 0 < abs(value) < 9.95 else amount(value)


def duration(seconds: float | None) -> str:
    """`9 s`, `3:07`, `2:03:07`; a dash for what is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
