"""Rotary positions (Su et al. 2021, "RoFormer"): attention scores that depend on the distance between two positions only.

Shapes: B sequences, T positions, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
