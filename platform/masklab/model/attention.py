"""Self-attention over the whole sequence, bidirectional or causal, with rotary positions and a key-value cache.

Shapes: B sequences, T positions, P positions passed before, N chosen positions, C channels, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklab.model.config import ModelConfig
from masklab.model.layers import Linear, make_norm


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


def rotary_table(T: int, head_size: int, base: float, device: torch.device, first: int = 0) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, 1, D/2) of the positions from `first` on.

    They are float32 whatever the model computes in: bfloat16 cannot tell position 256 from 257.
    """
    frequency = base ** (torch.arange(0, head_size, 2, device=device, dtype=torch.float32) / -head_size)
    angle = torch.arange(first, first + T, device=device, dtype=torch.float32)[:, None, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x_BTHD: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of channels (2d, 2d + 1) by the angle of its position; the result has the type of `x`."""
    wide = x_BTHD.to(torch.promote_types(x_BTHD.dtype, torch.float32))
    pairs = wide.view(*wide.shape[:-1], -1, 2)
    # one complex product is the quickest on a CPU, but compilers and other devices do better with real ones
    eager_cpu = x_BTHD.device.type == "cpu" and not torch.compiler.is_compiling()
    turned = _complex_product(pairs, *table) if eager_cpu else _real_products(pairs, *table)
    return turned.flatten(-2).to(x_BTHD.dtype)


def _complex_product(pairs: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))


def _real_products(pairs: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = pairs.unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)


class LayerCache:
    """Keys and values (B, H, P, D) of one layer, rotated by their place in the sequence."""

    def __init__(self) -> None:
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self._keys is None else self._keys.shape[2]

    def extended(self, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Keep those of T more positions; all of them, (B, H, P + T, D) each."""
        if self._keys is not None and self._values is not None:
            k_BHTD, v_BHTD = torch.cat((self._keys, k_BHTD), dim=2), torch.cat((self._values, v_BHTD), dim=2)
        self._keys, self._values = k_BHTD, v_BHTD
        return k_BHTD, v_BHTD


class KeyValueCache:
    """One `LayerCache` for each of the layers. It belongs to one model and one batch of sequences."""

    def __init__(self, layers: int) -> None:
        self.layers = tuple(LayerCache() for _ in range(layers))

    @property
    def length(self) -> int:
        return self.layers[0].length
