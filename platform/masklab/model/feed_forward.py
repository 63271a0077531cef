"""The part of a block that treats each position by itself.

Shapes: B sequences, T positions, C channels, F hidden channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig
from masklab.model.linear import Linear


class FeedForward(nn.Module):
    """`out(gelu(up(x)))`, or `out(silu(gate) * up)` with gate and up from one matrix (SwiGLU, Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.activation == "swiglu"
        hidden = config.feed_forward_size
        self.up = Linear(config.n_embd, 2 * hidden if self.gated else hidden, bias=config.bias)
        self.out = Linear(hidden, config.n_embd, bias=config.bias)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        hidden_BTF = self.up(x_BTC)
        if self.gated:
            gate_BTF, value_BTF = hidden_BTF.chunk(2, dim=-1)
            active_BTF = F.silu(gate_BTF) * value_BTF
        else:
            active_BTF = F.gelu(hidden_BTF)
        out: Tensor = self.out(active_BTF)
        return out
