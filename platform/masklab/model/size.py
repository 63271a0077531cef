"""How large a model is, and how much arithmetic a character of training text costs.

Shapes: L layers, C channels, T positions, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model; a tied head is counted once, as the embedding."""

    total: int
    without_embeddings: int


def parameter_count(model: Transformer) -> ParameterCount:
    """Parameters in all, and without the embedding of the extended vocabulary."""
    total = sum(p.numel() for p in model.parameters())
    return ParameterCount(total, total - model.embedding.weight.numel())


def flops_per_char(config: ModelConfig, outputs: int, block_size: int, causal: bool = False) -> float:
    """Floating-point operations, forward and backward, that training spends on a character: 6 N + 12 L C K.

    Chowdhery et al. 2022 ("PaLM"), appendix B, with N the weights that multiply an activation at each position: those of the
    blocks, and that of the head with its `outputs`, but not the embedding, which is looked up. The second term is attention's, over K
    positions: all T in both directions, and (T + 1) / 2 on average where the model is causal. Norms, rotary positions and the noise
    level's network are left out, as is usual, and the head counts at every position although a loss may need only the masked ones.
    """
    L, C = config.n_layer, config.n_embd
    attention = 4 * C * C
    feed_forward = (3 if config.activation == "swiglu" else 2) * C * config.feed_forward_size
    weights = L * (attention + feed_forward) + outputs * C
    attended = (block_size + 1) / 2 if causal else block_size
    return 6.0 * weights + 12.0 * L * C * attended
