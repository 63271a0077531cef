"""The normalisation of a block's inputs.

Shapes: C channels.
"""

from __future__ import annotations

from torch import nn

from masklab.model.config import ModelConfig

EPSILON = 1e-5


def make_norm(config: ModelConfig, size: int) -> nn.Module:
    """A norm over the last axis, of `size` channels, with a gain for each (and a bias, for a layer norm with `bias`)."""
    if config.norm == "rms":
        return nn.RMSNorm(size, eps=EPSILON)
    return nn.LayerNorm(size, eps=EPSILON, bias=config.bias)
