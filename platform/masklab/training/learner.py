"""The network of a run with its optimizer, on one worker: set to the initial weights, or to those of a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from masklab.model.layers import StandardisedLinear
from masklab.model.size import flops_per_char
from masklab.model.training_mode import evaluation_mode, freeze, is_frozen, unfreeze
from masklab.model.transfer_report import TransferReport
from masklab.model.transformer import Transformer
from masklab.modes.mode import Mode
from masklab.training.checkpoint.checkpoint import Checkpoint, load_weights
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchSource
from masklab.training.initial_weights import InitialWeights
from masklab.training.ranks import Ranks
from masklab.training.recipe import Worker
from masklab.training.settings import TrainingSettings
from masklab.training.step import Stepper, micro_batches

ROWS = 512
"""Least number of rows over which features are measured."""


def calibrate(model: Transformer, mode: Mode, source: BatchSource, ranks: Ranks, training: TrainingSettings) -> None:
    """Measure mean and deviation of the head's input features over the first training rows of all workers, if the head standardises them
    and has not been calibrated yet.
    """
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
    """Model and optimizer of one worker. All ranks must call `put` and `unfreeze` at the same step."""

    def __init__(self, worker: Worker, source: BatchSource, checkpoint: Checkpoint | None) -> None:
        self.worker, self.recipe, self.source = worker, worker.recipe, source
        self.model = self._initialised()
        self.transfer: TransferReport | None = None
        """How another run's weights were mapped, where the run begins with them and there is no checkpoint yet."""
        self.stepper: Stepper
        if not checkpoint:
            self.transfer = self._load_initial_weights(self.model)
        self._prepare(checkpoint)
        if self.recipe.system.compile:
            self.model.hidden = torch.compile(self.model.hidden)  # type: ignore[method-assign]

    def put(self, checkpoint: Checkpoint | None) -> None:
        """Load the weights and moments of `checkpoint`, or the initial weights if it is None."""
        if not checkpoint:
            first = self._initialised()
            self._load_initial_weights(first)
            self.model.load_state_dict(first.state_dict())
        self._prepare(checkpoint)

    def unfreeze(self) -> None:
        unfreeze(self.model)
        self.stepper = self.stepper.after_unfreezing(self.model, self.worker)

    @property
    def is_frozen(self) -> bool:
        return is_frozen(self.model)

    @property
    def flops_per_char(self) -> float:
        """Training FLOPs per character. With a frozen body only the forward third: the backward pass of the head is small beside it."""
        recipe, head = self.recipe, self.model.output
        outputs = head.out_features if head else self.worker.vocabulary.size
        whole = flops_per_char(recipe.model, outputs, recipe.training.block_size, recipe.mode.causal)
        return whole / 3 if self.is_frozen else whole

    def _initialised(self) -> Transformer:
        recipe, worker = self.recipe, self.worker
        return recipe.mode.build(recipe.model, worker.vocabulary, worker.labels, recipe.seed).to(worker.precision.device)

    def _load_initial_weights(self, model: Transformer) -> TransferReport | None:
        """Copy another run's weights into `model`, if the run begins with them, and calibrate the head."""
        recipe, report = self.recipe, None
        if recipe.transfer.source:
            report = InitialWeights.read(recipe.transfer.source).copy_into(model, self.worker)
        calibrate(model, recipe.mode, self.source, self.worker.ranks, recipe.training)
        return report

    def _prepare(self, checkpoint: Checkpoint | None) -> None:
        """Load `checkpoint`, if there is one, freeze what the recipe freezes, and make the optimizer."""
        if checkpoint:
            load_weights(self.model, checkpoint)
        if self.recipe.transfer.freezes(checkpoint.state["iteration"] if checkpoint else 0):
            freeze(self.model)
        self.stepper = Stepper.of(self.model, self.worker)
        if checkpoint:
            self.stepper.restore(checkpoint.optimizer())
