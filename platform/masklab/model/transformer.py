"""The denoiser: a transformer that sees a corrupted text in both directions and predicts the character at each position.

Pre-norm blocks with rotary positions; everything is a function of the configuration, and the first weights of the seed.

Shapes: B sequences, T positions, C channels, S channels of the noise level's embedding, V characters, E extended vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.attention import Attention
from masklab.model.config import ModelConfig
from masklab.model.feed_forward import FeedForward
from masklab.model.linear import Linear
from masklab.model.norm import make_norm
from masklab.model.rotary import rotary_table
from masklab.model.time_conditioning import Modulation, NoiseEmbedding

INIT_STD = 0.02


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normalised copy of the residual stream and adds to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = ConditionedNorm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = ConditionedNorm(config)
        self.feed_forward = FeedForward(config)

    def forward(self, x_BTC: Tensor, table: tuple[Tensor, Tensor], noise_BS: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x_BTC = x_BTC + self._drop(self.attention(self.attention_norm(x_BTC, noise_BS), table))
        return x_BTC + self._drop(self.feed_forward(self.feed_forward_norm(x_BTC, noise_BS)))

    def _drop(self, x_BTC: Tensor) -> Tensor:
        return F.dropout(x_BTC, self.dropout) if self.dropout and self.training else x_BTC


class ConditionedNorm(nn.Module):
    """A norm, scaled and shifted by the noise level if the model is conditioned on it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = make_norm(config, config.n_embd)
        self.modulation = Modulation(config) if config.time_conditioning else None

    def forward(self, x_BTC: Tensor, noise_BS: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x_BTC = self.norm(x_BTC)
        if self.modulation is None or noise_BS is None:
            return x_BTC
        modulated: Tensor = self.modulation(x_BTC, noise_BS)
        return modulated


class Transformer(nn.Module):
    """Logits over the V characters only: a special token has no column in the output, so it can never be predicted.

    `extended_size` E counts the special tokens that may stand in the input. The weights are drawn on the CPU by a generator of
    `seed`: the same on every rank and device, and torch's global random state is left alone.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, extended_size: int, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(extended_size, config.n_embd, _weight=torch.empty(extended_size, config.n_embd))
        self.noise_embedding = NoiseEmbedding() if config.time_conditioning else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.final_norm = ConditionedNorm(config)
        self.output = None if config.tied_head else Linear(config.n_embd, vocabulary_size, bias=config.bias)
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor, noise_level_B: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) for int64 `tokens` (B, T); see `hidden` for the noise level."""
        return self.head(self.hidden(tokens_BT, noise_level_B))

    def hidden(self, tokens_BT: Tensor, noise_level_B: Tensor | None = None) -> Tensor:
        """The normalised last layer (B, T, C), for a `head` that is applied where it is needed.

        `noise_level` (B,) in [0, 1] is the share of masked positions aimed at. Raises ValueError when a time-conditioned model is
        given none; other models ignore it.
        """
        noise_BS = None
        if self.noise_embedding is not None:
            if noise_level_B is None:
                raise ValueError("a time-conditioned model needs a noise level for each sequence")
            noise_BS = self.noise_embedding(noise_level_B)
        table = rotary_table(tokens_BT.shape[1], self.config.head_size, self.config.rope_base, tokens_BT.device)
        x_BTC = self.embedding(tokens_BT)
        if self.config.dropout and self.training:
            x_BTC = F.dropout(x_BTC, self.config.dropout)
        for block in self.blocks:
            x_BTC = block(x_BTC, table, noise_BS)
        normalised: Tensor = self.final_norm(x_BTC, noise_BS)
        return normalised

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of `hidden` (..., C)."""
        if self.output is None:
            return F.linear(hidden, self.embedding.weight[: self.vocabulary_size])
        logits: Tensor = self.output(hidden)
        return logits

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Normal with deviation 0.02, less where 2 n_layer branches add up in the residual stream (Radford et al. 2019, section 2.3)."""
        residual_std = INIT_STD / math.sqrt(2 * self.config.n_layer)
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            if name.endswith(".scale_shift"):
                nn.init.zeros_(module.weight)
            else:
                branch_end = name.endswith((".attention.out", ".feed_forward.out"))
                nn.init.normal_(module.weight, std=residual_std if branch_end else INIT_STD, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
