"""Independent positions, each selected with its row's probability.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.rng import uniforms


def bernoulli(keys: NDArray[np.uint64], probability: NDArray[np.float64] | float, block_size: int) -> NDArray[np.bool_]:
    """(B, T) bool, each True with the `probability` (B,) of its row."""
    return uniforms(keys, block_size) < np.broadcast_to(probability, keys.shape)[:, None]


def uniform_integers(keys: NDArray[np.uint64], where: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """(B, T) integers in 0..n-1."""
    return (uniforms(keys, where.shape[1]) * n).astype(np.int64)
