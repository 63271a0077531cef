"""Telling the network how much of the text is masked.

Shapes: B sequences, T positions, N chosen positions, C channels, S channels of the noise level's embedding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig
from masklab.model.layers import Linear

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
