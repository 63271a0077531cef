"""The masked-token predictor: X = masked tokens, Y = original tokens, M = selected positions.

Shapes: B sequences, T positions, C channels, N selected positions in the batch, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from masklab.schema import Section

if TYPE_CHECKING:  # a configuration is read without loading torch
    import torch
    from torch import Tensor

    from masklab.model.transformer import Transformer


class TokenClassifier(Section):
    """Predict the original character at every selected position."""

    type: Literal["token_classifier"] = "token_classifier"
    """Which mode this is."""

    def cross_entropy(self, model: Transformer, batch: ModeBatch, label_smoothing: float) -> Tensor:
        """Cross-entropy (N,) in nats at the selected positions, row by row; float32 whatever the autocast format."""
        import torch.nn.functional as F

        hidden_NC = model.hidden(batch.inputs, batch.noise_level, batch.positions)
        logits_NV = model.head(hidden_NC)
        return F.cross_entropy(logits_NV.float(), batch.targets, reduction="none", label_smoothing=label_smoothing)


@dataclass(frozen=True)
class ModeBatch:
    """A micro-batch on the model's device.

    `inputs` (B, T) int64; `noise_level` (B,) float32; `positions` (N,) int64 into the flattened (B * T,) rows;
    `targets` (N,) int64, the original characters there; `rows` (N,) int64, the sequence of each.
    """

    inputs: Tensor
    noise_level: Tensor
    positions: Tensor
    targets: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> ModeBatch:
        """A copy on `device`, without waiting for it when the memory is pinned."""
        return ModeBatch(
            *(t.to(device, non_blocking=True) for t in (self.inputs, self.noise_level, self.positions, self.targets, self.rows))
        )
