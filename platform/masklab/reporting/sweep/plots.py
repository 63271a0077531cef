"""Plots of a sweep: the best over time, each trial across all keys, and how much each key matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from masklab.config.search.search_space import Choice, Distribution, Uniform, Value, Whole, distribution
from masklab.reporting.numbers import si
from masklab.reporting.plots import FAINT, GRID, INK, bare, colour_of
from masklab.reporting.sweep.record import SweepRecord, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TICKS = 6
"""Labels on one axis at most."""


def history_plot(record: SweepRecord) -> Figure:
    """The final NELBO of each finished trial with one standard error, and the best so far."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    finished = sorted(record.ranked, key=lambda trial: trial.number)
    numbers = [trial.number for trial in finished]
    nats = [trial.nelbo_nats or 0.0 for trial in finished]
    errors = [trial.nelbo_stderr or 0.0 for trial in finished]
    axes.errorbar(numbers, nats, yerr=errors, fmt="o", color=colour_of(0), markersize=4, capsize=2, label="finished")
    axes.step(numbers, [min(nats[: i + 1]) for i in range(len(nats))], where="post", color=INK, linewidth=1.4, label="best")
    stopped = [(trial.number, trial.nelbo_nats) for trial in record.trials if trial.status == "stopped" and trial.nelbo_nats is not None]
    axes.plot(*zip(*stopped, strict=True) if stopped else ([], []), "x", color=FAINT, markersize=5, label="stopped early")
    axes.set_title(f"{record.name}: final NELBO of each trial", loc="left", color=INK, fontsize=11)
    axes.set_xlabel("trial", color=INK)
    axes.set_ylabel("nats per character", color=INK)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    bare(axes)
    axes.legend(frameon=False, fontsize=8.5)
    return figure


def coordinates_plot(record: SweepRecord) -> Figure:
    """Parallel coordinates: an axis per key and one for the NELBO, a line per finished trial, the best one dark."""
    from matplotlib.figure import Figure

    space = {key: distribution(words) for key, words in record.space.items()}
    figure = Figure(figsize=(2.0 + 1.7 * len(space), 4.6), layout="constrained")
    axes = figure.subplots()
    nelbos = [trial.nelbo_nats or 0.0 for trial in record.ranked]
    scale = Uniform(min(nelbos), max(nelbos)) if nelbos else Uniform(0, 1)
    for rank, trial in reversed(list(enumerate(record.ranked))):
        heights = [place(each, trial.values[key]) for key, each in space.items()]
        colour, width = (INK, 2.4) if rank == 0 else (colour_of(0), 1.0)
        strength = 1.0 if rank == 0 else 0.25 + 0.6 * (1 - rank / len(nelbos))
        axes.plot([*heights, place(scale, trial.nelbo_nats or 0.0)], color=colour, linewidth=width, alpha=strength)
    for column, (key, each) in enumerate([*space.items(), ("NELBO", scale)]):
        axes.vlines(column, 0, 1, color=FAINT, linewidth=0.8)
        axes.annotate(key, (column, 1.06), ha="center", color=INK, fontsize=8.5, annotation_clip=False)
        for height, label in _ticks(each):
            axes.annotate(label, (column, height), xytext=(4, 0), textcoords="offset points", va="center", color=INK, fontsize=7.5)
    axes.set_xlim(-0.3, len(space) + 0.6)
    axes.set_ylim(-0.05, 1.14)
    axes.axis("off")
    axes.set_title(f"{record.name}: finished trials, the best one dark", loc="left", color=INK, fontsize=11)
    return figure


def importance_plot(shares: Mapping[str, float], name: str) -> Figure:
    """The share of the NELBO's variance that each key explains, alone or with others; the largest on top."""
    from matplotlib.figure import Figure

    ordered = sorted(shares.items(), key=lambda pair: pair[1])
    figure = Figure(figsize=(7, 1.1 + 0.34 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    axes.barh([key for key, _ in ordered], [share for _, share in ordered], color=colour_of(0))
    axes.set_title(f"{name}: which keys matter", loc="left", color=INK, fontsize=11)
    axes.set_xlabel("share of the NELBO's variance (fANOVA)", color=INK)
    axes.set_xlim(0, 1)
    bare(axes)
    return figure


def place(each: Distribution, value: float | int | str) -> float:
    """The position of `value` between the ends of the distribution, in [0, 1]; 0.5 if both ends are equal."""
    if isinstance(each, Choice):
        return each.values.index(str(value)) / (len(each.values) - 1) if len(each.values) > 1 else 0.5
    return each.share(float(value))


def _ticks(each: Distribution) -> list[tuple[float, str]]:
    """Heights and labels: every choice or whole number if there are few, else the ends."""
    if isinstance(each, Choice):
        return [(place(each, value), value) for value in each.values]
    values = each.grid(TICKS) if isinstance(each, Whole) else each.grid(3)
    return [(place(each, value), f"{value:.4g}") for value in values if not isinstance(value, str)]


def lineage_plot(record: SweepRecord) -> Figure:
    """A line per trial over characters seen, in the colour of the trial whose initial weights it descends from; an arrow per exploit.

    Below, one panel per searched key: its value over the same characters.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    space = {key: distribution(words) for key, words in record.space.items()}
    height = 1.4 + 0.3 * len(record.trials)
    figure = Figure(figsize=(9, height + 1.9 * len(space)), layout="constrained")
    lanes, *panels = figure.subplots(1 + len(space), 1, sharex=True, height_ratios=[height, *([1.9] * len(space))], squeeze=False)[:, 0]
    for trial in record.trials:
        for first, last, ancestor in stretches(record, trial):
            lanes.plot([first, last], [trial.number] * 2, color=colour_of(ancestor), linewidth=3, solid_capstyle="butt")
        for key, axes in zip(space, panels, strict=True):
            _values(axes, record, trial, key, space[key])
    for trial, exploit in record.exploits:
        bow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 2}
        lanes.annotate("", (exploit.chars, trial.number), (exploit.chars, exploit.donor), arrowprops=bow)
    lanes.set_yticks([trial.number for trial in record.trials], [trial.name for trial in record.trials])
    lanes.invert_yaxis()
    lanes.set_title(f"{record.name}: whose weights each trial continues from", loc="left", color=INK, fontsize=11)
    for axes in (lanes, *panels):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda chars, _: si(chars)))
        bare(axes)
    (panels[-1] if panels else lanes).set_xlabel("characters seen", color=INK)
    return figure


def stretches(record: SweepRecord, trial: TrialRecord) -> Iterator[tuple[int, int, int]]:
    """The trial's course, cut at its exploits: first and last characters, and the trial that its weights descend from."""
    at = [(0, 0), *((exploit.chars, exploit.iteration) for exploit in trial.lineage), (max(trial.chars, _latest(trial)), 0)]
    for (first, iteration), (last, _) in pairwise(at):
        yield first, last, record.ancestors(iteration)[trial.number]


def values_of(trial: TrialRecord, key: str) -> list[tuple[int, Value]]:
    """The values of `key`, each with the number of characters from which it was used."""
    first = trial.lineage[0].before if trial.lineage else trial.values
    return [(0, first[key]), *((exploit.chars, exploit.after[key]) for exploit in trial.lineage)]


def _values(axes: Axes, record: SweepRecord, trial: TrialRecord, key: str, each: Distribution) -> None:
    """One trial's steps in the panel of a key, in the colours of its line."""
    known = values_of(trial, key)
    heights = [each.values.index(str(value)) if isinstance(each, Choice) else float(value) for _, value in known]
    for (first, last, ancestor), height, before in zip(stretches(record, trial), heights, [heights[0], *heights], strict=False):
        axes.plot([first, first, last], [before, height, height], color=colour_of(ancestor), linewidth=1.3, alpha=0.8)
    if isinstance(each, Choice):
        axes.set_yticks(range(len(each.values)), each.values)
    elif isinstance(each, Uniform) and each.log:
        axes.set_yscale("log")
    axes.set_title(key, loc="left", color=INK, fontsize=9)
    axes.grid(axis="y", color=FAINT, linewidth=0.3)


def _latest(trial: TrialRecord) -> int:
    return trial.lineage[-1].chars if trial.lineage else 0
