"""Rotary positions (Su et al. 2021, "RoFormer"): attention scores that depend on the distance between two positions only.

Shapes: B sequences, T positions, H heads, D channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(T: int, head_size: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (T, 1, D/2), float32 whatever the model computes in: bfloat16 cannot tell position 256 from 257."""
    frequency = base ** (torch.arange(0, head_size, 2, device=device, dtype=torch.float32) / -head_size)
    angle = torch.arange(T, device=device, dtype=torch.float32)[:, None, None] * frequency
    return angle.cos(), angle.sin()


def rotate(x_BTHD: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn channel d of the first half with channel d of the second, by the angle of the position; keeps the type of `x`."""
    cos, sin = table
    a, b = x_BTHD.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x_BTHD.dtype)
