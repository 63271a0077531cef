"""The shape of the denoiser."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from masklab.schema import Section


class ModelConfig(Section):
    """Size and make of the transformer, in nanoGPT's words where it has them."""

    n_layer: int = Field(default=4, ge=1, le=10_000)
    """Number of transformer blocks."""
    n_head: int = Field(default=4, ge=1, le=1_000_000)
    """Attention heads per block."""
    n_embd: int = Field(default=128, ge=2, le=1_000_000)
    """Channels (C): a multiple of n_head, with an even number of channels per head."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout rate after the embedding and after each branch of a block. Attention weights are not dropped."""
    bias: bool = False
    """Give linear layers and layer norms a bias."""
    norm: Literal["rms", "layer"] = "layer"
    """RMSNorm (Zhang and Sennrich 2019), or LayerNorm (Ba et al. 2016), which takes half the time on a CPU."""
    activation: Literal["gelu", "swiglu"] = "gelu"
    """GELU on 4 n_embd hidden channels, or SwiGLU (Shazeer 2020) on fewer channels with as many parameters."""
    qk_norm: bool = True
    """Normalise queries and keys in each head (Henry et al. 2020)."""
    tied_head: bool = True
    """Share the weights of the output layer with the character embedding."""
    time_conditioning: bool = False
    """Condition the network's norms on the share of masked positions."""
    rope_base: float = Field(default=10000.0, gt=1)
    """Base of the rotary embedding (Su et al. 2021). Its wavelengths range from 2 pi to nearly 2 pi rope_base positions."""

    @model_validator(mode="after")
    def _heads_divide_the_channels(self) -> Self:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd={self.n_embd} is not a multiple of n_head={self.n_head}; change one of them")
        if self.head_size % 2:
            raise ValueError(
                f"n_embd={self.n_embd} over n_head={self.n_head} leaves heads of {self.head_size} channels, and rotary positions need an "
                f"even number; make n_embd a multiple of {2 * self.n_head}"
            )
        return self

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    @property
    def feed_forward_size(self) -> int:
        """Hidden channels of a block's feed-forward part: SwiGLU has three matrices where GELU has two."""
        return 4 * self.n_embd if self.activation == "gelu" else round(8 * self.n_embd / 3)
