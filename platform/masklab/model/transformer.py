"""The denoiser: a transformer that sees a corrupted text in both directions and predicts the character at each position.

Pre-norm blocks with rotary positions; everything is a function of the configuration, and the first weights of the seed.

Shapes: B sequences, T positions, N chosen positions, C channels, S channels of the noise level's embedding, V characters, E tokens
in the extended vocabulary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.attention import Attention, KeyValueCache, LayerCache, rotary_table
from masklab.model.config import ModelConfig
from masklab.model.layers import FeedForward, Linear, Modulation, NoiseEmbedding, StandardisedLinear, make_norm

GPT2_STD, GPT2_WIDTH = 0.02, 768
"""First deviation of GPT-2's weights, and the channels of the model it was chosen for (Radford et al. 2019)."""


def init_std(channels: int) -> float:
    """GPT-2's deviation over the root of the fan-in: 0.02 at every width leaves a narrow model's attention uniform for long."""
    return GPT2_STD * math.sqrt(GPT2_WIDTH / channels)


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normalised copy of the residual stream and adds to it."""

    def __init__(self, config: ModelConfig, causal: bool = False) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = ConditionedNorm(config)
        self.attention = Attention(config, causal)
        self.feed_forward_norm = ConditionedNorm(config)
        self.feed_forward = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        noise: Tensor | None,
        positions_N: Tensor | None = None,
        keys_BT: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or (N, C) at `positions`: all that follows attention treats each position by itself."""
        attended = self.attention(self.attention_norm(x, noise), table, positions_N, keys_BT, cache)
        if positions_N is not None:
            x, noise = _at(positions_N, x, noise)
        x = x + self._drop(attended)
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x, noise)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and self.training else x


class ConditionedNorm(nn.Module):
    """A norm, scaled and shifted by the noise level if the model is conditioned on it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = make_norm(config, config.n_embd)
        self.modulation = Modulation(config) if config.time_conditioning else None

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """(B, T, C) with `noise` (B, 1, S), or (N, C) with (N, S); the shape of `x` again."""
        x = self.norm(x)
        if self.modulation is None or noise is None:
            return x
        modulated: Tensor = self.modulation(x, noise)
        return modulated


def _at(positions_N: Tensor, x_BTC: Tensor, noise_B1S: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Residual stream (N, C) and noise embedding (N, S) at `positions` of the flattened rows."""
    noise_NS = None if noise_B1S is None else noise_B1S[:, 0].index_select(0, positions_N // x_BTC.shape[1])
    return x_BTC.flatten(0, 1).index_select(0, positions_N), noise_NS


class Transformer(nn.Module):
    """Logits over the V characters only: a special token has no column in the output, so it can never be predicted.

    With `outputs` it has a head of so many outputs instead, whatever they mean, which reads C channels, or else so many `features`,
    standardised. `causal` hides the positions after each from it.
    `extended_size` E counts the special tokens that may stand in the input. The weights are drawn on the CPU by a generator of
    `seed`: the same on every rank and device, and torch's global random state is left alone.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary_size: int,
        extended_size: int,
        seed: int = 0,
        *,
        outputs: int | None = None,
        features: int | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.causal = causal
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(extended_size, config.n_embd, _weight=torch.empty(extended_size, config.n_embd))
        self.noise_embedding = NoiseEmbedding() if config.time_conditioning else None
        self.blocks = nn.ModuleList(Block(config, causal) for _ in range(config.n_layer))
        self.final_norm = ConditionedNorm(config)
        if outputs is not None:
            plain = Linear(config.n_embd, outputs, bias=True)
            self.output: Linear | None = plain if features is None else StandardisedLinear(features, outputs)
        else:
            self.output = None if config.tied_head else Linear(config.n_embd, vocabulary_size, bias=config.bias)
        self._initialise(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor, noise_level_B: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) for int64 `tokens` (B, T); see `hidden` for the noise level."""
        return self.head(self.hidden(tokens_BT, noise_level_B))

    def hidden(
        self,
        tokens_BT: Tensor,
        noise_level_B: Tensor | None = None,
        positions_N: Tensor | None = None,
        keys_BT: Tensor | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """The normalised last layer (B, T, C), for a `head` that is applied where it is needed.

        Given `positions` (N,) int64 of the flattened (B * T,) rows, the result is (N, C) at these alone, and the last block does
        the work that follows its attention for no others. `noise_level` (B,) in [0, 1] is the share of masked positions aimed at. Given
        `keys` (B, T) bool, nothing attends to the other positions, such as padding. A `cache`, for a causal model alone, holds the
        positions that come before these, and takes these up.
        Raises ValueError when a time-conditioned model is given no noise level; other models ignore it.
        """
        noise = None
        if self.noise_embedding is not None:
            if noise_level_B is None:
                raise ValueError("a time-conditioned model needs a noise level for each sequence")
            noise = self.noise_embedding(noise_level_B)[:, None]
        assert cache is None or (self.causal and keys_BT is None)
        passed = 0 if cache is None else cache.length
        table = rotary_table(tokens_BT.shape[1], self.config.head_size, self.config.rope_base, tokens_BT.device, passed)
        x = self.embedding(tokens_BT)
        if self.config.dropout and self.training:
            x = F.dropout(x, self.config.dropout)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            x = block(x, table, noise, positions_N if number == last else None, keys_BT, cache.layers[number] if cache else None)
        if positions_N is not None and noise is not None:
            noise = noise[:, 0].index_select(0, positions_N // tokens_BT.shape[1])
        normalised: Tensor = self.final_norm(x, noise)
        return normalised

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V), or the outputs of a head of its own, of `hidden` (..., C)."""
        if self.output is None:
            return F.linear(hidden, self.embedding.weight[: self.vocabulary_size])
        logits: Tensor = self.output(hidden)
        return logits

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        """Normal, with less deviation where 2 n_layer branches add up in the residual stream (Radford et al. 2019, section 2.3)."""
        std = init_std(self.config.n_embd)
        residual_std = std / math.sqrt(2 * self.config.n_layer)
        for name, module in self.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            if name.endswith(".scale_shift"):
                nn.init.zeros_(module.weight)
            else:
                branch_end = name.endswith((".attention.out", ".feed_forward.out"))
                nn.init.normal_(module.weight, std=residual_std if branch_end else std, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
