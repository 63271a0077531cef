"""The recipe of a run, which decides all its metrics, and one worker that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from masklab.curriculum.curriculum import Curriculum
from masklab.model.config import ModelConfig
from masklab.modes.any_mode import AnyMode
from masklab.sampling.settings import SamplingSettings
from masklab.text.labels import Labels
from masklab.text.preparation import Corpus
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import Placement
from masklab.training.data.batch_maker import BatchMaker
from masklab.training.data.validation_pools import Pools, make_pools
from masklab.training.loss_spikes import StabilitySettings
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.settings import ObjectiveSettings, SystemSettings, TrainingSettings, TransferSettings, ValidationSettings


@dataclass(frozen=True)
class Recipe:
    """The sections of the configuration that decide a run's metrics."""

    seed: int
    windows: Placement
    curriculum: Curriculum
    mode: AnyMode
    model: ModelConfig
    objective: ObjectiveSettings
    training: TrainingSettings
    validation: ValidationSettings
    system: SystemSettings
    sampling: SamplingSettings
    transfer: TransferSettings = field(default_factory=TransferSettings)
    stability: StabilitySettings = field(default_factory=StabilitySettings)

    def batch_maker(self, corpus: Corpus) -> BatchMaker:
        """The maker of this run's batches out of `corpus`. Raises DataError if the text is shorter than a block."""
        return BatchMaker(
            mode=self.mode,
            texts=corpus.training_rows(self.mode.window(self.training.block_size), self.windows),
            vocabulary=corpus.vocabulary,
            curriculum=self.curriculum,
            objective=self.objective,
            seed=self.seed,
            rows_per_step=self.training.rows_per_step,
        )

    def pools(self, corpus: Corpus) -> Pools:
        """The validation pools of this run. Raises DataError if the validation split is shorter than a block."""
        return make_pools(corpus, self.mode, self.curriculum, self.validation, self.training.block_size)


@dataclass(frozen=True)
class Worker:
    """The recipe of the run, the symbols of its text, and this process's device and rank."""

    recipe: Recipe
    vocabulary: Vocabulary
    precision: Precision
    labels: Labels | None = None
    ranks: Ranks = field(default_factory=Ranks)
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    """Prepares the loss module for several workers, for instance with DistributedDataParallel."""
