"""Size of a model, and the arithmetic that a character of training text costs.

Shapes: L layers, C channels, T positions, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from masklab.model.config import ModelConfig


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a model; a tied head is counted once, as the embedding."""

    total: int
    trainable: int

    @classmethod
    def of(cls, model: nn.Module) -> ParameterCount:
        """Parameters of `model`, and those that currently require a gradient."""
        counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
        return cls(sum(n for n, _ in counts), sum(n for n, trained in counts if trained))


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
