"""Scores of sequences by a model that predicts characters: sums over the selected positions of each.

Shapes: N sequences, T positions, B sequences at a time, M selected positions among these, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masklab.model.training_mode import evaluation_mode
from masklab.model.transformer import Transformer

Tokens = NDArray[np.integer[Any]]
Levels = NDArray[np.floating[Any]]

ROUND_TO = 256
"""The network is asked for a multiple of this many positions. Were every batch of another shape, memory would fill with what the
allocator and oneDNN keep of each: over 16,384 windows of 128 that was 0.5 GB for a single layer."""


@dataclass(frozen=True)
class SequenceScores:
    """Sums over the selected positions of each sequence, (N,) float64 each; zeros for a sequence without any.

    `cross_entropy_sum` is in nats, `correct` counts the positions where the most probable character is the true one, and
    `true_probability_sum` adds up the probabilities given to the true characters.
    """

    cross_entropy_sum: NDArray[np.float64]
    count: NDArray[np.float64]
    correct: NDArray[np.float64]
    true_probability_sum: NDArray[np.float64]

    @classmethod
    def of(cls, columns_NK: NDArray[np.float64]) -> SequenceScores:
        return cls(*columns_NK.T)

    @property
    def columns(self) -> NDArray[np.float64]:
        """The four side by side, (N, 4)."""
        return np.stack([self.cross_entropy_sum, self.count, self.correct, self.true_probability_sum], axis=1)

    @property
    def metrics(self) -> dict[str, float]:
        """Means over all selected positions: `loss` in nats, `accuracy`, and the probability of the true character."""
        count = float(self.count.sum())
        return {
            "loss": float(self.cross_entropy_sum.sum()) / count,
            "accuracy": float(self.correct.sum()) / count,
            "true_probability": float(self.true_probability_sum.sum()) / count,
        }


def score_sequences(
    model: Transformer,
    inputs: Tokens,
    targets: Tokens,
    selected: NDArray[np.bool_],
    noise_level: Levels,
    batch_size: int,
    device: torch.device,
) -> SequenceScores:
    """Score `inputs` (N, T) against `targets` (N, T) where `selected` (N, T), `batch_size` sequences at a time.

    `noise_level` (N,) is the input of a time-conditioned model. The network runs in the caller's autocast format and without
    dropout; the log-softmax and all sums are float64 and taken in the order of the text, so that a uniform predictor gets log V
    and the sums do not depend on `batch_size`, except by rounding inside the network.
    """
    sums = np.zeros((4, len(inputs)))
    with evaluation_mode(model):
        for first in range(0, len(inputs), batch_size):
            part = slice(first, first + batch_size)
            sums[:, part] = _score(model, inputs[part], targets[part], selected[part], noise_level[part], device)
    return SequenceScores(*sums)


def _score(
    model: Transformer,
    inputs: Tokens,
    targets: Tokens,
    selected: NDArray[np.bool_],
    noise_level: Levels,
    device: torch.device,
) -> NDArray[np.float64]:
    """The four sums (4, B) of one batch."""
    positions_M = np.flatnonzero(selected)
    M = len(positions_M)
    if not M:
        return np.zeros((4, len(inputs)))
    asked = np.pad(positions_M, (0, -M % ROUND_TO), mode="edge")
    hidden_MC = model.hidden(
        torch.from_numpy(inputs.astype(np.int64)).to(device),
        torch.from_numpy(noise_level.astype(np.float32)).to(device),
        torch.from_numpy(asked).to(device),
    )[:M]
    targets_M = torch.from_numpy(targets.ravel()[positions_M].astype(np.int64))
    cross_entropy_M, correct_M = compare(model.head(hidden_MC), targets_M.to(device))
    rows_M = positions_M // inputs.shape[1]
    per_position = (cross_entropy_M, np.ones(len(rows_M)), correct_M, np.exp(-cross_entropy_M))
    # bincount adds one after another: the same order whatever the batch
    return np.stack([np.bincount(rows_M, weights=values, minlength=len(inputs)) for values in per_position])


def compare(logits_MV: Tensor, targets_M: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cross-entropy (M,) in nats, and 1.0 (M,) where the largest logit is the true character's."""
    if logits_MV.device.type == "mps":  # has no float64
        logits_MV, targets_M = logits_MV.cpu(), targets_M.cpu()
    true_M1 = targets_M[:, None]
    log_probability_M1 = torch.log_softmax(logits_MV.double(), dim=-1).gather(-1, true_M1)
    correct_M = logits_MV.argmax(dim=-1, keepdim=True) == true_M1
    return -log_probability_M1[:, 0].cpu().numpy(), correct_M[:, 0].double().cpu().numpy()
