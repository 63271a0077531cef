"""Plots of a comparison, for the report and for notebooks.

The baseline is dotted and in the colour of ink everywhere; the other arms of a picture take the colours and then the line styles of
`plots` in turn.

Shapes: S stages trained, P pools scored, R runs.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from masklab.comparison.contrast import Contrast, Verdict
from masklab.comparison.curves import Curve, band, common_grid, reach, targets
from masklab.errors import UserError
from masklab.reporting.comparison.blocks import Picture
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.plots import COLOURS, FAINT, GRID, INK, LINES, bare, colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


VERDICT_COLOURS = {Verdict.BETTER: COLOURS[0], Verdict.WORSE: COLOURS[4]}
"""Of a decided verdict; the others are faint."""
COLD, PALE, WARM, DARK = "#5aa5d6", "#f1f0ec", "#eb9a62", "#1b1c1f"
"""Of a heat map: falling, unchanged and rising losses, and the numbers on the tiles."""
SPACE = "\u00a0"
"""One that is not merged with its neighbours."""
POINTS, TARGETS = 60, 16
SeedCurves = Mapping[str, Mapping[int, Curve]]


@dataclass(frozen=True, eq=False)
class Dots:
    """A row of a forest plot: an arm's differences to its baseline, one per seed (R,), and their contrast."""

    label: str
    values: NDArray[np.float64]
    contrast: Contrast
    indented: bool = False


def dots_to_baseline(findings: Findings) -> tuple[Dots, ...]:
    """The differences of all arms to the baseline, each curriculum with its controls beneath it."""
    first, _, others = findings.families
    order, compared = [arm.name for arm in findings.record.arms], {pair.arm for pair in first.pairs}
    tested = sorted((*first.tested, *others.tested), key=lambda contrast: order.index(contrast.arm))
    return tuple(Dots(c.arm, findings.outcomes.difference(c.arm, c.baseline).values, c, c.arm not in compared) for c in tested)


def dots_to_controls(findings: Findings) -> tuple[Dots, ...]:
    """The differences of the curricula to their own controls."""
    pairs = findings.families[1].tested
    return tuple(Dots(f"{c.arm} − {c.baseline}", findings.outcomes.difference(c.arm, c.baseline).values, c) for c in pairs)


def forest_plot(rows: Sequence[Dots], against: str, margin: float = 0.0) -> Figure:
    """One line per row: a dot per seed, the mean as a diamond with its interval, in the colour of the verdict."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.15 + 0.33 * len(rows)), layout="constrained")
    axes = figure.subplots()
    if margin:
        axes.axvspan(-margin, margin, color=FAINT, alpha=0.15, linewidth=0)
    axes.axvline(0, color=INK, linewidth=1)
    for y, row in enumerate(rows):
        _dots(axes, y, row)
    axes.set_yticks(range(len(rows)), [f"{SPACE * 4}{row.label}" if row.indented else row.label for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set(fontweight="bold" if any(row.indented for row in rows) and not row.indented else "normal", ha="left")
    axes.tick_params(axis="y", length=0, pad=_label_points(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(f"← better{SPACE * 8}difference {against}, nats per character{SPACE * 8}worse →", color=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)
    axes.spines["left"].set_visible(False)
    return figure


def paired_plot(curves: SeedCurves, arms: Sequence[str], baseline: str | None, over: str, quantity: str) -> Figure:
    """Left: curves of `arms`, mean and range over seeds. Right: their paired differences to `baseline`, mean and pointwise 95 % interval.

    Arms without a curve are left out.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    for arm, style in _styles(curves, arms, baseline).items():
        runs = list(curves[arm].values())
        _band(left, runs, style, arm, whole_range=True)
        if arm != baseline:
            _band(right, _differences(curves[arm], curves.get(baseline or "", {})), style, None, whole_range=False)
    right.axhline(0, color=INK, linewidth=1.4, linestyle=(0, (1, 1.2)))
    left.set_ylabel(quantity, color=INK)
    right.set_ylabel(f"above {baseline}" if baseline else "", color=INK)
    for axes in (left, right):
        _over(axes, over)
    figure.legend(frameon=False, fontsize=8.5, loc="outside right upper", labelcolor=INK)
    return figure


def reach_plot(curves: SeedCurves, panels: Mapping[str, Sequence[str]], baseline: str | None, over: str) -> Figure:
    """One panel per group of arms: the median budget after which the NELBO stays below a target, over targets.

    A line ends where fewer than half of the seeds reach the target.
    """
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(11, 0.4 + 3.6 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    aims = targets([curve for runs in curves.values() for curve in runs.values()], TARGETS)
    for axes, (title, arms) in zip(grid.flat, panels.items(), strict=False):
        for arm, style in _styles(curves, arms, baseline).items():
            medians = [reach(list(curves[arm].values()), aim).median for aim in aims]
            axes.plot(aims, [np.nan if x is None else x for x in medians], label=arm, marker="o", markersize=3, **style)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        _over(axes, "target NELBO, nats per character")
        axes.tick_params(labelbottom=True, labelleft=True)
    grid[0, 0].invert_xaxis()
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{over} until it stays below", color=INK)
        _thousands(axes.yaxis)
    return figure


def matrix_plot(matrices: Mapping[str, NDArray[np.float64]], stages: Mapping[str, Sequence[str]]) -> Figure:
    """One heat map (S, P) per arm: the change of each pool's loss during each stage. `stages` holds the stages' titles."""
    from matplotlib.figure import Figure

    pools = next(iter(matrices.values())).shape[1]
    columns = min(len(matrices), 3 if pools <= 4 else 2 if pools <= 11 else 1)
    lines = [list(matrices)[i : i + columns] for i in range(0, len(matrices), columns)]
    heights = [max(len(matrices[arm]) for arm in line) for line in lines]
    figure = Figure(figsize=(11, sum(0.75 + 0.34 * height for height in heights)), layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, gridspec_kw={"height_ratios": [0.9 + height for height in heights]})
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    largest = max(float(np.nanmax(np.abs(m), initial=0.0, where=np.isfinite(m))) for m in matrices.values())
    for axes, (arm, change) in zip(grid.flat, matrices.items(), strict=False):
        _heat(axes, change, max(largest, 1e-6))
        axes.set_title(arm, loc="left", fontsize=10, color=INK)
        axes.set_xticks(np.arange(pools) + 0.5, [str(pool) for pool in range(pools)])
        axes.set_yticks(
            np.arange(len(change)) + 0.5, [textwrap.shorten(words.partition(" (")[0], 24, placeholder=" …") for words in stages[arm]]
        )
        axes.set_xlabel("pool scored", color=INK, fontsize=8.5)
        axes.tick_params(length=0, labelcolor=INK, labelsize=8.5)
        axes.spines[:].set_visible(False)
    return figure


def dwell_plot(dwell: Mapping[str, Sequence[float]]) -> Figure:
    """One bar per arm, divided into the iterations of its stages, mean over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.0 + 0.3 * len(dwell)), layout="constrained")
    axes = figure.subplots()
    most = max(sum(parts) for parts in dwell.values())
    for y, parts in enumerate(dwell.values()):
        ends = np.cumsum(parts)
        for stage, (part, end) in enumerate(zip(parts, ends, strict=True)):
            axes.barh(y, part, left=end - part, height=0.62, color=colour_of(stage), alpha=0.8, linewidth=0)
            if part > 0.04 * most:
                axes.text(end - part / 2, y, str(stage), ha="center", va="center", fontsize=8, color=DARK, fontweight="bold")
    axes.set_yticks(range(len(dwell)), list(dwell))
    axes.set_ylim(len(dwell) - 0.4, -0.6)
    axes.set_xlim(0, most)
    _over(axes, "iterations")
    axes.grid(visible=False)
    return figure


def _dots(axes: Axes, y: int, row: Dots) -> None:
    decided = VERDICT_COLOURS.get(row.contrast.verdict)
    colour = decided or FAINT
    places = y + 0.22 * np.linspace(-1, 1, len(row.values)) if len(row.values) > 1 else np.array([float(y)])
    axes.plot(row.values, places, "o", color=colour, alpha=0.45, markersize=3.6, markeredgewidth=0)
    axes.plot([row.contrast.low, row.contrast.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(
        row.contrast.difference, y, "D", color=colour if decided else "white", markersize=6.5, markeredgecolor=colour, markeredgewidth=1.5
    )


def _label_points(rows: Sequence[Dots]) -> float:
    """The width of the longest label, in points."""
    return 5.4 * max(len(row.label) + 4 * row.indented for row in rows)


def _styles(curves: SeedCurves, arms: Sequence[str], baseline: str | None) -> dict[str, dict[str, Any]]:
    """The style of each arm that has a curve; the baseline comes last and so is drawn on top."""
    others = [arm for arm in arms if arm in curves and arm != baseline]
    styles: dict[str, dict[str, Any]] = {
        arm: {"color": colour_of(i), "linestyle": LINES[i // len(COLOURS) % len(LINES)], "linewidth": 2.4 if i == 0 else 1.6}
        for i, arm in enumerate(others)
    }
    dotted = {"color": INK, "linestyle": (0, (1, 1.2)), "linewidth": 1.8}
    return styles | ({baseline: dotted} if baseline and baseline in curves else {})


def _differences(curves: Mapping[int, Curve], baseline: Mapping[int, Curve]) -> list[Curve]:
    return [curve.minus(baseline[seed]) for seed, curve in curves.items() if seed in baseline]


def _band(axes: Axes, curves: Sequence[Curve], style: Mapping[str, Any], label: str | None, *, whole_range: bool) -> None:
    """The mean of the curves with their range, or with the interval of the mean. Draws nothing if their x ranges do not overlap."""
    try:
        grid = common_grid(curves, POINTS) if curves else None
    except UserError:
        grid = None
    if grid is None:
        return
    shown = band(curves, grid)
    low, high = (shown.lowest, shown.highest) if whole_range else shown.interval()
    axes.fill_between(grid, low, high, color=style["color"], alpha=0.1, linewidth=0)
    axes.plot(grid, shown.mean, label=label, **style)


def _over(axes: Axes, words: str) -> None:
    axes.set_xlabel(words, color=INK)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    bare(axes)
    if axes.get_xlim()[1] >= 10_000:
        _thousands(axes.xaxis)


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    from masklab.reporting.numbers import si

    axis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))


def _heat(axes: Axes, change: NDArray[np.float64], largest: float) -> None:
    """Tiles (S, P); the colour scale is linear within 1 % of the largest change and logarithmic beyond."""
    from matplotlib.colors import LinearSegmentedColormap, SymLogNorm

    colours = LinearSegmentedColormap.from_list("change", [COLD, PALE, WARM])
    norm = SymLogNorm(largest / 100, vmin=-largest, vmax=largest)
    axes.pcolormesh(np.ma.masked_invalid(change), cmap=colours, norm=norm, edgecolors="white", linewidth=1.5)
    for (stage, pool), value in np.ndenumerate(change):
        known = bool(np.isfinite(value))
        words = f"{value:+.2f}".replace("-", "−") if known else "–"
        axes.text(pool + 0.5, stage + 0.5, words, ha="center", va="center", fontsize=8, color=DARK if known else FAINT)
    axes.invert_yaxis()


def svg_of(figure: Figure, name: str) -> str:
    """The plot as SVG, deterministic, with text as text. `name` keeps its ids apart from those of other plots."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\g<1>{name}-", buffer.getvalue())


def picture(name: str, figure: Figure, caption: str) -> Picture:
    """The plot as a block of a report."""
    return Picture(name, svg_of(figure, name), caption)
