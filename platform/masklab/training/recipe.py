"""What a run is a function of: the sections of the configuration that decide its figures."""

from __future__ import annotations

from dataclasses import dataclass, field

from masklab.curriculum.curriculum import Curriculum
from masklab.model.config import ModelConfig
from masklab.modes.any_mode import AnyMode
from masklab.sampling.settings import SamplingSettings
from masklab.text.preparation import Corpus
from masklab.text.windows import Placement
from masklab.training.data.batch_maker import BatchMaker
from masklab.training.data.validation_pools import Pools, make_pools
from masklab.training.loss_spikes import StabilitySettings
from masklab.training.settings import ObjectiveSettings, SystemSettings, TrainingSettings, ValidationSettings
from masklab.training.transfer_settings import TransferSettings


@dataclass(frozen=True)
class Recipe:
    """Everything the loop needs to know, beside the text and the workers."""

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
        """Makes this run's batches out of `corpus`. Raises DataError when the text is shorter than a block."""
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
        """The validation pools of this run. Raises DataError when the validation split is shorter than a block."""
        return make_pools(corpus, self.mode, self.curriculum, self.validation, self.training.block_size)
