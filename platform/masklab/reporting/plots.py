"""Plots of a run: losses over iterations, masks of each stage, confusion of classes, loss by mask ratio.

Stage number i has the same colour in all of them. The colours are Okabe and Ito's (2008), which stay apart for colour-blind
readers; line styles tell them apart in grey as well. T positions in a row of masks.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from masklab.reporting.run.history import History
from masklab.reporting.run.run_info import RunInfo
from masklab.text.labels import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from masklab.likelihood.mask_ratio_curve import MaskRatioCurve


COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A6A00")
LINES = ("-", "--", "-.", ":")
INK, FAINT, GRID, PAPER = "#222222", "#8a8a8a", "#dddddd", "#f4f4f2"
PANEL_ROWS = 24


def colour_of(stage: int) -> str:
    """The colour of stage number `stage` in every plot; after seven stages the colours repeat with another line style."""
    return COLOURS[stage % len(COLOURS)]


def loss_plot(history: History, info: RunInfo) -> Figure:
    """Loss per validation stage (nats per masked character) over iterations, the NELBO in black, training stages as bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    iterations = [e.iteration for e in history.evaluations]
    marker = "o" if len(iterations) < 12 else None
    for i, stage in enumerate(info.validation):
        losses = _curve(e.stage_losses[i] for e in history.evaluations)
        style = LINES[i // len(COLOURS) % len(LINES)]
        label = f"{i}  {textwrap.shorten(stage.title, 46, placeholder=' …')}"
        axes.plot(iterations, losses, style, color=colour_of(i), linewidth=1.8, marker=marker, markersize=3.5, label=label)
    nelbo = _curve(e.nelbo_nats for e in history.evaluations)
    if not np.isnan(nelbo).all():
        axes.plot(iterations, nelbo, color=INK, linewidth=1.4, linestyle=(0, (1, 1.2)), label="NELBO, nats per character")
    _bands(axes, history, iterations)
    axes.set_title(f"{info.name}: loss on each validation stage", loc="left", color=INK, fontsize=11, pad=22)
    axes.set_xlabel("iteration", color=INK)
    axes.set_ylabel("nats per character", color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    bare(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0), title="validation stage", alignment="left")
    return figure


def masks_plot(panels: Sequence[tuple[str, NDArray[np.bool_]]]) -> Figure:
    """One panel per stage: rows of masks, each bool (rows, T), masked positions in the stage's colour."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    heights = [min(len(masks), PANEL_ROWS) for _, masks in panels]
    figure = Figure(figsize=(9, 0.55 + sum(0.62 + 0.058 * h for h in heights)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for i, ((title, masks), axes) in enumerate(zip(panels, grid[:, 0], strict=True)):
        shown = masks[:PANEL_ROWS]
        axes.imshow(shown, cmap=ListedColormap([PAPER, colour_of(i)]), vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(f"stage {i}   {title}", loc="left", fontsize=9.5, color=INK)
        axes.set_title(f"{masks.mean():.0%} masked, mean run {mean_run(masks):.1f}", loc="right", fontsize=9, color=FAINT)
        axes.set_yticks([])
        bare(axes)
        axes.spines["left"].set_visible(False)
    grid[-1, 0].set_xlabel("position in the block", color=INK)
    return figure


def mean_run(masks: NDArray[np.bool_]) -> float:
    """Mean length of the masked runs in the rows of bool (rows, T); 0 where nothing is masked."""
    starts = masks.copy()
    starts[:, 1:] &= ~masks[:, :-1]
    return float(masks.sum() / max(1, starts.sum()))


def save_plot(figure: Figure, path: Path) -> None:
    """Write a plot as PNG or SVG, by the ending of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=150, facecolor="white")


def _curve(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])


def _bands(axes: Axes, history: History, iterations: list[int]) -> None:
    """Behind the curves, a tint for each training stage and its number above the frame."""
    if not iterations:
        return
    edges = [0, *(b.iteration for b in history.boundaries), max(iterations)]
    numbers = [0, *(b.begun for b in history.boundaries)]
    for stage, low, high in zip(numbers, edges, edges[1:], strict=False):
        axes.axvspan(low, high, color=colour_of(stage), alpha=0.07, linewidth=0)
        if low > 0:
            axes.axvline(low, color=FAINT, linewidth=0.9)
        if high > low:
            words: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": colour_of(stage)}
            axes.text((low + high) / 2, 1.01, f"stage {stage}", transform=axes.get_xaxis_transform(), **words)
    axes.set_xlim(0, max(iterations))


def bare(axes: Axes) -> None:
    """Two spines, in a faint colour."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=8.5)


LEGIBLE = 24
"""Classes up to which every count is written, and every class named."""
NAME = 22
"""Characters of a name."""


def confusion_plot(counts: Sequence[Sequence[int]] | NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
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
    axes.set_title(f"{title} (accuracy {whole.trace() / max(whole.sum(), 1):.1%} of {whole.sum():,})", loc="left", color=INK, fontsize=10.5)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    return figure


def mask_ratio_plot(curves: Mapping[str, MaskRatioCurve], title: str) -> Figure:
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
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    bare(axes)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8.5)
    return figure
