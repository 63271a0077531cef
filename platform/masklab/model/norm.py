"""The normalisation of a block's inputs.

Shapes: C channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig

EPSILON = 1e-5


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` in the type of its gains, as autocast does by itself for a layer norm: a mean of squares needs float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return F.rms_norm(x.to(self.weight.dtype), self.normalized_shape, self.weight, self.eps)


def make_norm(config: ModelConfig, size: int) -> nn.Module:
    """A norm over the last axis, of `size` channels, with a gain for each (and a bias, for a layer norm with `bias`)."""
    if config.norm == "rms":
        return RMSNorm(size, eps=EPSILON)
    return nn.LayerNorm(size, eps=EPSILON, bias=config.bias)
