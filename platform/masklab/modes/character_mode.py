"""Modes that predict a character at each counted position: their loss and metrics.

Shapes: B sequences, T positions, C channels, N counted positions in the batch, V characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from masklab.modes.examples import Examples
from masklab.modes.mode import Mode, ModeBatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from masklab.model.transformer import Transformer

ROUND_TO = 64
"""The network is asked for a multiple of this many positions: were every batch of another shape, memory would fill with what the
allocator and oneDNN keep of each."""


class CharacterMode(Mode):
    """Cross-entropy over the V characters."""

    writes: ClassVar[bool] = True

    def losses(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        """Cross-entropy (N,) in nats at the counted positions."""
        import torch.nn.functional as F

        N = len(batch.positions)
        asked = F.pad(batch.positions, (0, -N % ROUND_TO))  # position 0 over again, whose outputs are let go
        logits_NV = model.head(model.hidden(batch.inputs, batch.noise_level, asked))[:N]
        return F.cross_entropy(logits_NV.float(), batch.targets, reduction="none", label_smoothing=label_smoothing)

    def scores(self, model: Transformer, examples: Examples, batch_size: int, device: torch.device) -> NDArray[np.float64]:
        from masklab.modes.character_scores import score_sequences

        part = (examples.inputs, examples.targets, examples.selected, examples.noise_level)
        return score_sequences(model, *part, batch_size, device).columns

    def metrics(self, scores: NDArray[np.float64], examples: Examples) -> dict[str, float]:
        from masklab.modes.character_scores import SequenceScores

        return SequenceScores.of(scores).metrics

    def overall(self, metrics: Mapping[str, float], vocabulary_size: int) -> dict[str, float]:
        """Accuracy, and the mean probability of the true character relative to chance, 1/V."""
        return {"accuracy": metrics["accuracy"], "model_vs_random": vocabulary_size * metrics["true_probability"]}
