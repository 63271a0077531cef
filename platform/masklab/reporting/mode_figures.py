"""The figures of a mode in words: what each is called at the terminal, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping

from masklab.reporting.numbers import figure

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
    return f"{value:.1%}" if name in SHARES else figure(value, 2 if name == "model_vs_random" else 4)


def in_a_line(figures: Mapping[str, float]) -> str:
    """A few words for a line of the log, e.g. `8.1x random`."""
    if "model_vs_random" in figures:
        return f"{figure(figures['model_vs_random'], 1)}x random"
    return "  ".join(f"{title_of(name)} {written(name, value)}" for name, value in list(figures.items())[:3])
