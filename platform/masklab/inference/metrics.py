"""The figures of an evaluation under the names that MLflow keeps them by.

A run can be evaluated many times, on several curricula's stages, with other settings or beside other models, so that each evaluation
has a section of its own: `evaluation/002-sticky/`, by the number of its folder and the curriculum whose stages it scored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from masklab.inference.model_scores import ModelScores
from masklab.inference.tables import SamplerFigures
from masklab.likelihood.estimate import Estimate

NO_NAME = re.compile(r"[^\w\-.]+", re.ASCII)


def evaluation_metrics(
    number: str, curriculum: str, scores: ModelScores, other: ModelScores | None, samplers: Sequence[SamplerFigures]
) -> dict[str, float]:
    """Metric name -> figure: bounds, differences from the `other` model where there is one, stages and samplers.

    What could not be measured is left out.
    """
    figures: dict[str, float] = {}
    for name, values in scores.bounds.items():
        figures |= _named(name, values.estimate)
    for name, apart in (scores.differences(other) if other else {}).items():
        figures |= _named(f"difference/{name}", apart)
    for i, stage in enumerate(scores.stages):
        figures |= {f"stage_loss/{i:02d}": stage.loss, f"stage_accuracy/{i:02d}": stage.accuracy}
        if other and other.stages:
            figures[f"difference/stage_loss/{i:02d}"] = stage.loss - other.stages[i].loss
    for row in samplers:
        figures |= {f"{statistic}/{_plain(row.name)}": value for statistic, value in _statistics(row).items() if value is not None}
    section = f"evaluation/{number}-{_plain(curriculum)}"
    return {f"{section}/{name}": value for name, value in figures.items() if math.isfinite(value)}


def _named(name: str, estimate: Estimate) -> dict[str, float]:
    return {f"{name}_nats": estimate.nats, f"{name}_stderr": estimate.stderr, f"{name}_bpc": estimate.bits}


def _statistics(row: SamplerFigures) -> Mapping[str, float | None]:
    """By statistic, so that samplers stand beside each other: the UI makes a section of all before the last slash."""
    statistics = row.statistics
    return {
        "sampler_network_evaluations": row.evaluations,
        "sampler_characters_per_second": row.characters_per_second,
        "sampler_divergence": statistics.headline,
        "sampler_distinct": statistics.distinct[-1],
        "sampler_entropy": statistics.entropy,
        "sampler_real_words": statistics.real_words,
    }


def _plain(name: str) -> str:
    """`name` in letters that a metric's name can hold: `remdm cap 0.02, 64 steps` -> `remdm_cap_0.02_64_steps`."""
    return NO_NAME.sub("_", name)
