"""The network of a run with its optimizer, on one worker: put to its first weights, or to those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from masklab.model.freezing import freeze, is_frozen, unfreeze
from masklab.model.transfer_report import TransferReport
from masklab.model.transformer import Transformer
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.calibration import calibrate
from masklab.training.checkpoint.store import Checkpoint, load_weights
from masklab.training.data.batch_maker import BatchSource
from masklab.training.initial_weights import InitialWeights
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.step import Stepper


class Learner:
    """`wrap` prepares the module for several workers. All ranks must call `put` and `unfreeze` together."""

    def __init__(
        self,
        recipe: Recipe,
        vocabulary: Vocabulary,
        labels: Labels | None,
        source: BatchSource,
        precision: Precision,
        ranks: Ranks,
        wrap: Callable[[nn.Module], nn.Module],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.recipe, self.vocabulary, self.labels, self.source = recipe, vocabulary, labels, source
        self.precision, self.ranks, self.wrap = precision, ranks, wrap
        self.model = self._drawn()
        self.transfer: TransferReport | None = None
        """What became of another run's weights, where there is no checkpoint and the run begins with them."""
        self.stepper: Stepper
        if not checkpoint:
            self.transfer = self._begin(self.model)
        self._prepare(checkpoint)
        if recipe.system.compile:
            self.model.hidden = torch.compile(self.model.hidden)  # type: ignore[method-assign]

    def put(self, checkpoint: Checkpoint | None) -> None:
        """Go back to what `checkpoint` holds, or to the first weights where it is None."""
        if not checkpoint:
            first = self._drawn()
            self._begin(first)
            self.model.load_state_dict(first.state_dict())
        self._prepare(checkpoint)

    def unfreeze(self) -> None:
        """Train all weights from here on."""
        unfreeze(self.model)
        self.stepper = self.stepper.over_all(self.model, self.recipe, self.wrap)

    @property
    def is_frozen(self) -> bool:
        """Whether only the head is trained."""
        return is_frozen(self.model)

    def _drawn(self) -> Transformer:
        recipe = self.recipe
        return recipe.mode.build(recipe.model, self.vocabulary, self.labels, recipe.seed).to(self.precision.device)

    def _begin(self, model: Transformer) -> TransferReport | None:
        """Lay another run's weights over those that were drawn, if the run begins with them, and calibrate the head."""
        recipe, report = self.recipe, None
        if recipe.transfer.source:
            report = InitialWeights.read(recipe.transfer.source).lay_over(model, recipe, self.vocabulary, self.labels)
        calibrate(model, recipe.mode, self.source, self.ranks, recipe.training)
        return report

    def _prepare(self, checkpoint: Checkpoint | None) -> None:
        """Load what there is, and make the optimizer of what is trained there."""
        if checkpoint:
            load_weights(self.model, checkpoint)
        if self.recipe.transfer.freezes(checkpoint.state["iteration"] if checkpoint else 0):
            freeze(self.model)
        self.stepper = Stepper.of(self.model, self.recipe, self.precision, self.ranks, self.wrap)
        if checkpoint:
            self.stepper.restore(checkpoint.optimizer())
