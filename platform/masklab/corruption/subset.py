"""Uniform subsets of an exact size.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.rng import uniforms


def uniform_subset(keys: NDArray[np.uint64], count: NDArray[np.int64], block_size: int) -> NDArray[np.bool_]:
    """(B, T) bool with exactly `count` (B,) positions True in each row, every such subset equally likely."""
    rank = uniforms(keys, block_size).argsort(axis=1).argsort(axis=1)
    return np.asarray(rank < count[:, None])
