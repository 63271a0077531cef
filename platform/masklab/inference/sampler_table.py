"""Samplers beside each other: what each costs, and how far its text is from real text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from masklab.config.jobs.evaluate import SAMPLERS, StatisticsSettings
from masklab.errors import ConfigError
from masklab.reporting.numbers import rate
from masklab.sampling.generation import Generation
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.text_statistics import ReferenceText, TextStatistics, text_statistics
from masklab.text.vocabulary import Vocabulary

COLUMNS = ("sampler", "network evaluations a text", "characters/s", "n-gram divergence, bits", "real words")
MISSING = "–"


@dataclass(frozen=True)
class SamplerFigures:
    """A row of the table; network evaluations of each text and characters per second are None for real text."""

    name: str
    evaluations: float | None
    characters_per_second: float | None
    statistics: TextStatistics

    @classmethod
    def of(cls, name: str, generation: Generation, vocabulary: Vocabulary, reference: ReferenceText) -> SamplerFigures:
        """The figures of generated texts."""
        texts = generation.texts(vocabulary)
        evaluations = float(generation.evaluations.mean())
        return cls(name, evaluations, generation.characters_per_second, text_statistics(texts, reference))

    def to_json(self) -> dict[str, Any]:
        """Plain values; None stands for what could not be measured."""
        statistics = self.statistics
        return {
            "sampler": self.name,
            "network_evaluations": self.evaluations,
            "characters_per_second": self.characters_per_second,
            "divergence": [_plain(value) for value in statistics.divergence],
            "distinct": [_plain(value) for value in statistics.distinct],
            "entropy": _plain(statistics.entropy),
            "real_words": _plain(statistics.real_words),
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


def cells(row: SamplerFigures) -> tuple[str, ...]:
    """A row of the table, as `COLUMNS` has it."""
    evaluations = MISSING if row.evaluations is None else f"{row.evaluations:,.1f}"
    speed = MISSING if row.characters_per_second is None else rate(row.characters_per_second)
    divergence, real = _shown(row.statistics.headline, 4), _shown(100 * row.statistics.real_words, 1)
    return row.name, evaluations, speed, divergence, f"{real} %"


def markdown(rows: Sequence[SamplerFigures]) -> str:
    """The table for a file."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (COLUMNS, ("---",) * len(COLUMNS), *map(cells, rows)))


def lengths_of(generation: Generation) -> list[int]:
    """Characters of each of the texts, for real pieces as long."""
    return [generation.tokens.shape[1]] * len(generation.tokens)


def _shown(value: float, digits: int) -> str:
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
