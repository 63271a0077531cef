"""Configuration of jobs/evaluate.py."""

from __future__ import annotations

from pydantic import Field, field_validator

from masklab.config.compose.validation_messages import sections_in
from masklab.config.jobs.tracking import StoreSettings
from masklab.curriculum.curriculum import Curriculum
from masklab.errors import did_you_mean
from masklab.likelihood.settings import EvaluationSettings
from masklab.sampling.settings import SamplingSettings
from masklab.schema import Section
from masklab.text.dataset import Dataset
from masklab.training.settings import ComputeSettings

SAMPLERS: dict[str, type[Section]] = {
    section.model_fields["strategy"].default: section for section in sections_in(SamplingSettings.model_fields["sampler"].annotation)
}
"""Every sampler by its name."""


class StatisticsSettings(Section):
    """Which samplers are compared by the text that they write."""

    samplers: tuple[str, ...] = ()
    """Samplers to compare. If empty, only sampling.strategy."""
    steps: tuple[int, ...] = Field(default=(8, 16, 32, 64, 128, 256), min_length=1)
    """Numbers of steps to try each sampler with, if it has steps."""

    @field_validator("samplers")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in SAMPLERS:
                raise ValueError(f"unknown sampler {name!r}; there are {', '.join(SAMPLERS)}{did_you_mean(name, SAMPLERS)}")
        return names

    @field_validator("steps")
    @classmethod
    def _positive(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if min(steps) < 1:
            raise ValueError(f"{min(steps)} is not a number of steps; give 1 or more")
        return steps


class ComparedSamples(SamplingSettings):
    """How the text is generated that is compared with real text."""

    num_samples: int = Field(default=64, ge=1)
    """Number of texts that each sampler writes."""


class EvaluateConfig(Section):
    """The evaluation of a trained model."""

    checkpoint: str = Field(min_length=1)
    """The model: a run's name or folder (its newest checkpoint; RUN/best for its best), or a checkpoint's folder."""
    against: str | None = Field(default=None, min_length=1)
    """Second model, scored on the same windows and masks to measure the difference."""
    output: str | None = Field(default=None, min_length=1)
    """Folder that holds all evaluations; each gets a numbered subfolder. If null, `evaluations` in the run's folder."""
    dataset: Dataset
    """The text, whose validation split is scored."""
    curriculum: Curriculum
    """The curriculum whose validation stages are scored."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """What is measured, on how many windows."""
    sampling: ComparedSamples = ComparedSamples()
    """How text is generated."""
    statistics: StatisticsSettings = StatisticsSettings()
    """Which samplers are compared."""
    system: ComputeSettings = ComputeSettings()
    """Device and number format."""
    tracking: StoreSettings = StoreSettings()
    """MLflow store of the run, to which the metrics are added."""
