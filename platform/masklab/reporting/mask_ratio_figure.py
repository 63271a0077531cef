"""The picture of an evaluation: cross-entropy at every share of masked characters, one curve a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from masklab.likelihood.mask_ratio_curve import MaskRatioCurve
from masklab.reporting.plots import INK, LINES, bare, colour_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def mask_ratio_figure(curves: Mapping[str, MaskRatioCurve], title: str) -> Figure:
    """Nats per masked character over the mask ratio, with bars of one standard error; `curves` by the models' names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        axes.errorbar(
            curve.mask_ratio,
            curve.cross_entropy,
            yerr=curve.cross_entropy_stderr,
            color=colour_of(i),
            linestyle=LINES[i % len(LINES)],
            linewidth=1.8,
            marker="o",
            markersize=3.5,
            capsize=2,
            label=name,
        )
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.set_xlabel("share of masked characters", color=INK)
    axes.set_ylabel("nats per masked character", color=INK)
    axes.set_xlim(0, 1.02)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    bare(axes)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8.5)
    return figure
