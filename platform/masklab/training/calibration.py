"""Tells a head the scale of what it reads, before the first step.

Shapes: N rows, F features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from masklab.model.evaluation_mode import evaluation_mode
from masklab.model.linear import StandardisedLinear
from masklab.model.transformer import Transformer
from masklab.modes.mode import Mode
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchSource
from masklab.training.ranks import Ranks
from masklab.training.settings import TrainingSettings
from masklab.training.step import micro_batches

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
