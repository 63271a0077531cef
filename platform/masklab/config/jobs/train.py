"""Configuration of a training run: the sections that each package owns, under the names that users write."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ModelWrapValidatorHandler, model_validator

from masklab.config.compose.validation_messages import ProblemsError
from masklab.config.jobs.checks import problems
from masklab.config.jobs.tracking import TrackingSettings
from masklab.curriculum.curriculum import Curriculum
from masklab.model.config import ModelConfig
from masklab.modes.any_mode import AnyMode
from masklab.modes.token_classifier import TokenClassifier
from masklab.sampling.settings import SamplingSettings
from masklab.schema import Section
from masklab.text.dataset import Dataset
from masklab.training.loss_spikes import StabilitySettings
from masklab.training.recipe import Recipe
from masklab.training.settings import (
    BatchSettings,
    ObjectiveSettings,
    RunSettings,
    ScalingSettings,
    SystemSettings,
    TrainingSettings,
    TransferSettings,
    ValidationSettings,
)


class Config(Section):
    """The configuration of a training run. Only the dataset and the curriculum have no defaults."""

    run: RunSettings = RunSettings()
    """Name, seed and folder of the run."""
    dataset: Dataset
    """The text, its split, and how windows are cut from it."""
    curriculum: Curriculum
    """The stages, and the rule for advancing to the next."""
    model: ModelConfig = ModelConfig()
    """The transformer."""
    mode: AnyMode = TokenClassifier()
    """What the model learns to predict."""
    objective: ObjectiveSettings = ObjectiveSettings()
    """Weighting and reduction of the loss."""
    training: TrainingSettings = TrainingSettings()
    """Budget, batch and optimizer."""
    validation: ValidationSettings = ValidationSettings()
    """Validation pools and the NELBO."""
    batches: BatchSettings = BatchSettings()
    """How batches are made ahead of time."""
    scaling: ScalingSettings = ScalingSettings()
    """Workers and their resources."""
    system: SystemSettings = SystemSettings()
    """Device and number format."""
    tracking: TrackingSettings = TrackingSettings()
    """Where the run is logged."""
    sampling: SamplingSettings = SamplingSettings()
    """How the run's sample is generated."""
    transfer: TransferSettings = TransferSettings()
    """Initial weights from another run, and which of them are trained."""
    stability: StabilitySettings = StabilitySettings()
    """How non-finite losses or gradients and loss spikes are handled."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if found := tuple(problems(self)):
            raise ProblemsError(found)
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _sampler_of_the_mode(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """If no sampler is given, choose the one that goes with the mode, so that it is recorded with the rest."""
        config = handler(value)
        sampling = config.sampling.suited(config.mode.causal) if config.mode.writes else config.sampling
        return config if sampling is config.sampling else config.model_copy(update={"sampling": sampling})

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            seed=self.run.seed,
            windows=self.dataset.windows,
            curriculum=self.curriculum,
            mode=self.mode,
            model=self.model,
            objective=self.objective,
            training=self.training,
            validation=self.validation,
            system=self.system,
            sampling=self.sampling,
            transfer=self.transfer,
            stability=self.stability,
        )
