"""Self-attention over the whole sequence, in both directions or, where the model is causal, backwards only.

Shapes: B sequences, T positions, P positions passed before, N chosen positions, C channels, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig
from masklab.model.key_value_cache import LayerCache
from masklab.model.linear import Linear
from masklab.model.norm import make_norm
from masklab.model.rotary import rotate


class Attention(nn.Module):
    """Every position attends to every other, or to itself and those before it when `causal`.

    The weights are never dropped out, which keeps every device on its fused kernel.
    """

    def __init__(self, config: ModelConfig, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.n_head = config.n_head
        self.qkv = Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.out = Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.query_norm = make_norm(config, config.head_size) if config.qk_norm else nn.Identity()
        self.key_norm = make_norm(config, config.head_size) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x_BTC: Tensor,
        table: tuple[Tensor, Tensor],
        positions_N: Tensor | None = None,
        keys_BT: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C), or (N, C) at `positions` of the flattened rows; `table` is `rotary_table`'s.

        Given `keys` (B, T) bool, only those positions are attended to. With a `cache`, for causal attention alone, the T positions
        follow the P in it, attend to them too, and join them.
        """
        q, k, v = self.qkv(x_BTC).unflatten(-1, (3, self.n_head, -1)).unbind(2)  # (B, T, H, D) each
        q = rotate(self.query_norm(q), table).to(v.dtype)
        k = rotate(self.key_norm(k), table).to(v.dtype)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        mask, causal = None if keys_BT is None else keys_BT[:, None, None], self.causal
        if cache is not None and cache.length:
            mask, causal = _after(cache.length, q.shape[2], q.device), False
        if cache is not None:
            k, v = cache.extended(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal).transpose(1, 2).flatten(2)
        attended: Tensor = self.out(mixed if positions_N is None else mixed.flatten(0, 1).index_select(0, positions_N))
        return attended


def _after(P: int, T: int, device: torch.device) -> Tensor:
    """Which of P + T positions each of the last T sees: itself and those before it, (T, P + T)."""
    return torch.ones(T, P + T, dtype=torch.bool, device=device).tril(P)
