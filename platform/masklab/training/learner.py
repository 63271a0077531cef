"""The network of a run with its optimizer, on one worker: put to its first weights, or to those of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from masklab.model.evaluation_mode import evaluation_mode
from masklab.model.freezing import freeze, is_frozen, unfreeze
from masklab.model.linear import StandardisedLinear
from masklab.model.transfer_report import TransferReport
from masklab.model.transformer import Transformer
from masklab.modes.mode import Mode
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.store import Checkpoint, load_weights
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchSource
from masklab.training.initial_weights import InitialWeights
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.settings import TrainingSettings
from masklab.training.step import Stepper, micro_batches

ROWS = 512
"""Rows of the first batches over which features are measured, at least."""


def calibrate(model: Transformer, mode: Mode, source: BatchSource, ranks: Ranks, training: TrainingSettings) -> None:
    """Measure the features of the first training rows over all workers, where the head of `model` asks for it and knows nothing yet."""
    head = model.output
    if not isinstance(head, StandardisedLinear) or head.is_measured:
        return
    sums = np.zeros((3, head.in_features))  # of ones, of features, of their squares

    def add(_head: nn.Module, inputs: tuple[Any, ...]) -> None:
        features_NF = inputs[0].cpu().double().numpy()  # not every device has float64
        sums[:] += [np.full(head.in_features, len(features_NF)), features_NF.sum(0), np.square(features_NF).sum(0)]

    device = model.embedding.weight.device
    handle = head.register_forward_pre_hook(add)
    try:
        with evaluation_mode(model):
            for step in range(-(-ROWS // training.rows_per_step)):
                for part, _ in micro_batches(source.take(BatchKey(0, step)), training.batch_size):
                    mode.losses(model, part.to(device), 0.0)
    finally:
        handle.remove()
    counts, totals, squares = ranks.total(sums)
    mean = totals / counts
    deviation = np.sqrt(np.maximum(squares / counts - mean**2, 0.0))
    head.measured(torch.from_numpy(mean), torch.from_numpy(deviation))


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
