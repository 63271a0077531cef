"""The confusion matrix of a classifier: what each class of texts was taken for.

Shapes: O classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from masklab.reporting.plots import INK
from masklab.text.labels import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGIBLE = 24
"""Classes up to which every count is written, and every class named."""
NAME = 22
"""Characters of a name."""


def confusion_figure(counts: Sequence[Sequence[int]] | NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    """True classes from top to bottom, predicted ones from left to right; the colour is the share of the true class.

    `counts` (K, K) are of the first K <= O classes, those that occur; the others are shown empty.
    """
    from matplotlib.figure import Figure

    given, O = np.asarray(counts), len(names)  # noqa: E741
    whole = np.zeros((O, O), np.int64)
    whole[: len(given), : len(given)] = given
    share = whole / np.maximum(whole.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.8 + 0.5 * O, 4.5, 13))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if O <= LEGIBLE:
        labels = [readable(name, NAME) for name in names]
        # a name may hold what looks like a formula between dollar signs
        axes.set_xticks(range(O), labels, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(range(O), labels, parse_math=False)
        for row, column in np.argwhere(whole):
            colour = "white" if share[row, column] > 0.5 else INK
            axes.text(column, row, f"{whole[row, column]:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.tick_params(length=0, labelcolor=INK, labelsize=8.5)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    axes.set_title(f"{title} ({whole.trace() / max(whole.sum(), 1):.1%} of {whole.sum():,} right)", loc="left", color=INK, fontsize=10.5)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return figure
