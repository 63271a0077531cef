"""Uniform subsets of an exact size.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masklab.corruption.mask_words import ZERO, as_positions, expand, positions_in, thin, word_count


@njit(cache=True)
def _rows(keys, count, block_size):  # type: ignore[no-untyped-def]
    words = np.empty(word_count(block_size), np.uint64)
    others = np.empty_like(words)
    out = np.empty((keys.size, 8 * words.size), np.uint64)
    for b in range(keys.size):
        for w in range(words.size):
            words[w] = positions_in(w, block_size)
        thin(words, others, block_size, count[b], keys[b], ZERO)
        expand(words, out[b])
    return out


def uniform_subset(keys: NDArray[np.uint64], count: NDArray[np.int64], block_size: int) -> NDArray[np.bool_]:
    """(B, T) bool with exactly `count` (B,) of the T positions True in each row, every such subset equally likely."""
    return as_positions(_rows(keys, count, block_size), block_size)
