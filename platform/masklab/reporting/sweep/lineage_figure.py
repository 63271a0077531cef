"""A population over its budget: who went on from whom, and how each varied value moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from masklab.config.search.search_space import Choice, Distribution, Uniform, Value, distribution
from masklab.reporting.numbers import amount
from masklab.reporting.plots import FAINT, INK, bare, colour_of
from masklab.reporting.sweep.record import SweepRecord, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lineage_figure(record: SweepRecord) -> Figure:
    """A line for each trial over the characters seen, in the colour of the trial whose initial weights it descends from; an arrow for
    each takeover. Below it, for each varied key, the values over the same characters."""
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
    for trial, takeover in record.takeovers:
        bow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 2}
        lanes.annotate("", (takeover.chars, trial.number), (takeover.chars, takeover.donor), arrowprops=bow)
    lanes.set_yticks([trial.number for trial in record.trials], [trial.name for trial in record.trials])
    lanes.invert_yaxis()
    lanes.set_title(f"{record.name}: whose weights each trial goes on from", loc="left", color=INK, fontsize=11)
    for axes in (lanes, *panels):
        axes.xaxis.set_major_formatter(FuncFormatter(lambda chars, _: amount(chars)))
        bare(axes)
    (panels[-1] if panels else lanes).set_xlabel("characters seen", color=INK)
    return figure


def stretches(record: SweepRecord, trial: TrialRecord) -> Iterator[tuple[int, int, int]]:
    """The trial's way, cut where it took over: first and last characters, and the trial that its weights descend from."""
    at = [(0, 0), *((takeover.chars, takeover.iteration) for takeover in trial.lineage), (max(trial.chars, _latest(trial)), 0)]
    for (first, iteration), (last, _) in pairwise(at):
        yield first, last, record.ancestors(iteration)[trial.number]


def values_of(trial: TrialRecord, key: str) -> list[tuple[int, Value]]:
    """From how many characters on the trial had which value of `key`."""
    first = trial.lineage[0].before if trial.lineage else trial.values
    return [(0, first[key]), *((takeover.chars, takeover.after[key]) for takeover in trial.lineage)]


def _values(axes: Axes, record: SweepRecord, trial: TrialRecord, key: str, each: Distribution) -> None:
    """One trial's steps in the panel of a key, in the colours of its lane."""
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
