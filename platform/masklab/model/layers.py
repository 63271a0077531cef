"""Layers of a block: linear, norm, feed-forward and time conditioning. `Transformer` draws their weights.

Shapes: B sequences, T positions, N chosen positions, C channels, S channels of the noise level's embedding; F features or hidden
channels, O outputs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig

SMALLEST_DEVIATION = 1e-4
"""A feature that differs less between texts is left small: what it has to say is rounding."""


class Linear(nn.Linear):
    """`nn.Linear` without weights of its own making, which would be drawn from torch's global random state and thrown away."""

    def reset_parameters(self) -> None:
        """Draw nothing: `Transformer` initialises all weights from one seed."""


class StandardisedLinear(Linear):
    """A head that sees each feature with mean 0 and deviation 1, as it was `measured` once before the first step.

    Frozen features have scales of their own, and a head that is trained alone learns little from small ones (He et al. 2022,
    appendix A.1, where a batch normalisation without scale does this). The measures are kept with the weights.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(features, outputs, bias=True)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., O)."""
        return super().forward((features - self.get_buffer("mean")) / self.get_buffer("deviation"))

    @property
    def is_measured(self) -> bool:
        return bool((self.get_buffer("deviation") != 1).any())

    @torch.no_grad()
    def measured(self, mean: Tensor, deviation: Tensor) -> None:
        """Take `mean` and `deviation`, (F,) each, for those of the features."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(deviation.clamp(min=SMALLEST_DEVIATION))


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


EMBEDDED_SIZE = 128
"""S. The noise level is one number, so that more channels than this only slow wide models down."""


def sinusoidal(noise_level_B: Tensor) -> Tensor:
    """(B,) in [0, 1] -> (B, S) float32: sines and cosines with periods from 1 / 1000 of the range to ten times it, evenly in the logarithm.

    The form of Vaswani et al. 2017, section 3.5, with the noise level as the position in thousandths.
    """
    half = EMBEDDED_SIZE // 2
    frequency = torch.exp(torch.arange(half, device=noise_level_B.device, dtype=torch.float32) * (-math.log(10000.0) / half))
    angle_BS = 1000.0 * noise_level_B.float()[:, None] * frequency
    return torch.cat((angle_BS.sin(), angle_BS.cos()), dim=-1)


class NoiseEmbedding(nn.Module):
    """Sinusoids of the noise level, then two layers: what every `Modulation` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear(EMBEDDED_SIZE, EMBEDDED_SIZE)
        self.outer = Linear(EMBEDDED_SIZE, EMBEDDED_SIZE)

    def forward(self, noise_level_B: Tensor) -> Tensor:
        """(B,) -> (B, S)."""
        noise_BS: Tensor = self.outer(F.silu(self.inner(sinusoidal(noise_level_B).to(self.inner.weight.dtype))))
        return F.silu(noise_BS)


class Modulation(nn.Module):
    """A scale and a shift of normalised channels (Peebles and Xie 2023, "DiT", adaLN-zero without gates).

    Its weights begin at zero, so a new model is the same with and without time conditioning.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scale_shift = Linear(EMBEDDED_SIZE, 2 * config.n_embd)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(B, T, C) with `noise` (B, 1, S), or (N, C) with (N, S); the shape of `x` again."""
        scale, shift = self.scale_shift(noise).chunk(2, dim=-1)
        modulated: Tensor = x * (1 + scale) + shift
        return modulated
