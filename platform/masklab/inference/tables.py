"""The scores of an evaluation as tables for the terminal, and for a file those of its samplers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from masklab.config.jobs.evaluate import SAMPLERS, StatisticsSettings
from masklab.errors import ConfigError
from masklab.inference.model_scores import ModelScores
from masklab.likelihood.estimate import Estimate
from masklab.likelihood.mask_ratio_curve import MaskRatioCurve
from masklab.likelihood.settings import EvaluationSettings
from masklab.reporting.numbers import MISSING, fixed, rate
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.text_statistics import TextStatistics

COLUMNS = ("sampler", "network evaluations a text", "characters/s", "n-gram divergence, bits", "real words")


@dataclass(frozen=True)
class SamplerScores:
    """A row of the table; network evaluations of each text and characters per second are None for real text."""

    name: str
    evaluations: float | None
    characters_per_second: float | None
    statistics: TextStatistics

    def means(self) -> dict[str, float | None]:
        """One number per statistic: of n-grams the longest. None is not measured."""
        return {
            "network_evaluations": self.evaluations,
            "characters_per_second": self.characters_per_second,
            "divergence": self.statistics.headline,
            "distinct": self.statistics.distinct[-1],
            "entropy": self.statistics.entropy,
            "real_words": self.statistics.real_words,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values; None was not measured."""
        statistics = self.statistics
        return {
            "sampler": self.name,
            "network_evaluations": self.evaluations,
            "characters_per_second": self.characters_per_second,
            "divergence": list(map(_known, statistics.divergence)),
            "distinct": list(map(_known, statistics.distinct)),
            "entropy": _known(statistics.entropy),
            "real_words": _known(statistics.real_words),
        }


def samplers_of(settings: StatisticsSettings, sampling: SamplingSettings) -> Iterator[SamplingSettings]:
    """`sampling` with each sampler at each number of steps; as it is when no sampler is named."""
    if not settings.samplers:
        yield sampling
    for name in settings.samplers:
        own = sampling.sampler.model_dump() if sampling.sampler.strategy == name else {"strategy": name}
        counts = settings.steps if "steps" in SAMPLERS[name].model_fields else (None,)
        for steps in counts:
            tree = own if steps is None else own | {"steps": steps}
            try:
                yield sampling.model_copy(update={"sampler": SAMPLERS[name].model_validate(tree)})
            except ValidationError as error:
                reasons = "; ".join(str(detail["msg"]) for detail in error.errors())
                raise ConfigError(f"statistics.samplers: {name} with {steps} steps: {reasons}") from error


def cells(row: SamplerScores) -> tuple[str, ...]:
    evaluations = MISSING if row.evaluations is None else f"{row.evaluations:,.1f}"
    speed = MISSING if row.characters_per_second is None else rate(row.characters_per_second)
    divergence = fixed(_known(row.statistics.headline), 4)
    real = fixed(_known(100 * row.statistics.real_words), 1)
    return row.name, evaluations, speed, divergence, f"{real} %"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


TITLES = {
    "nll": "left to right, exact",
    "nelbo": "any order, exact count",
    "continuous_time": "forward process, {schedule}",
    "orders_together": "{orders} orders together",
    "orders_one_by_one": "{orders} orders one by one",
}
"""The titles of the bounds."""
BOUND_BESIDE_EXACT = (
    "An exact value is compared with a bound, on the same characters: the model that fills masks may be better than its bound says, so "
    "the language model is ahead by this much at most."
)
MOST_LEVELS = 8
"""Mask ratios shown of the curve."""
HEAD_WIDTH = 12
"""Characters at which the title of a column of short numbers is wrapped."""


def evaluation_block(scores: ModelScores, settings: EvaluationSettings, other: tuple[str, ModelScores] | None = None) -> RenderableType:
    """Bounds, curve and stages of a model, as far as they were measured; with `other` and its name, the differences from it."""
    parts: list[RenderableType] = [_bounds(scores, settings)]
    if other:
        parts += [Text(""), _differences(scores, *other, settings)]
        if scores.is_exact != other[1].is_exact:
            parts.append(Text(BOUND_BESIDE_EXACT, style="dim"))
    if scores.curve:
        parts += [Text(""), _curve(scores.curve)]
    if scores.stages:
        parts += [Text(""), _stages(scores, other if other and other[1].stages else None)]
    return Group(*parts)


def sampler_block(rows: Sequence[SamplerScores]) -> RenderableType:
    """A row for each sampler, and one for real text, which no sampler is expected to beat."""
    first, *rest = COLUMNS
    table = _table(first, *(textwrap.fill(head, HEAD_WIDTH) for head in rest))
    for row in rows:
        table.add_row(*cells(row))
    return table


def _bounds(scores: ModelScores, settings: EvaluationSettings) -> Table:
    table = _table(
        "likelihood of held-out text" if scores.is_exact else "bound on held-out text",
        "nats per char",
        "bits per char",
        "perplexity",
        "windows",
    )
    for name, values in scores.bounds.items():
        estimate = values.estimate
        table.add_row(_bound_title(name, settings), *_cells_of(estimate), f"{estimate.perplexity:.2f}", f"{len(values.values):,}")
    return table


def _bound_title(name: str, settings: EvaluationSettings) -> str:
    steps = "" if settings.timesteps is None else f", {settings.timesteps} steps"
    return TITLES[name].format(schedule=settings.schedule.describe() + steps, orders=settings.orders)


def _differences(scores: ModelScores, name: str, other: ModelScores, settings: EvaluationSettings) -> Table:
    table = _table(f"less that of {name}", "nats per char", "bits per char", "std. errors")
    for bound, estimate in scores.differences(other).items():
        apart = "–" if estimate.stderr == 0 else f"{estimate.nats / estimate.stderr:+.1f}"
        table.add_row(_bound_title(bound, settings), *_cells_of(estimate, "+"), apart)
    return table


def _cells_of(estimate: Estimate, sign: str = "") -> tuple[str, str]:
    return (
        f"{estimate.nats:{sign}.4f} ± {estimate.stderr:.4f}",
        f"{estimate.bits:{sign}.4f} ± {estimate.stderr / math.log(2):.4f}",
    )


def _curve(curve: MaskRatioCurve) -> Table:
    step = -(-len(curve.mask_ratio) // MOST_LEVELS)
    shown = range(len(curve.mask_ratio) - 1, -1, -step)[::-1]
    table = _table("masked", *(f"{curve.mask_ratio[i]:.0%}" for i in shown))
    table.add_row("nats per character", *(f"{curve.cross_entropy[i]:.3f}" for i in shown))
    table.add_row("accuracy", *(f"{curve.accuracy[i]:.1%}" for i in shown))
    return table


def _stages(scores: ModelScores, other: tuple[str, ModelScores] | None) -> Table:
    table = _table("validation stage", "loss", "accuracy", "p(true char)", *([f"loss of {other[0]}"] if other else []))
    for i, stage in enumerate(scores.stages):
        beside = [f"{other[1].stages[i].loss:.4f}"] if other else []
        table.add_row(f"{i} {stage.title}", f"{stage.loss:.4f}", f"{stage.accuracy:.1%}", f"{stage.true_probability:.1%}", *beside)
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
