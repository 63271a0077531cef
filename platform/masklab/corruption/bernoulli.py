"""Independent positions, each selected with its row's probability.

Shapes: B sequences, T positions, W = ceil(T / 64) words.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masklab.corruption.mask_words import ZERO, as_positions, decide, expand, positions_in, threshold, word_count
from masklab.rng import UINT64, unit, word


@njit(cache=True)
def _rows(keys, probability, block_size):  # type: ignore[no-untyped-def]
    words = np.empty(word_count(block_size), np.uint64)
    out = np.empty((keys.size, 8 * words.size), np.uint64)
    for b in range(keys.size):
        words[:] = ZERO
        if probability[b] > 0.0:
            counter, usual = ZERO, threshold(probability[b])
            for w in range(words.size):
                words[w], counter = decide(keys[b], counter, positions_in(w, block_size), usual, usual, ZERO)
        expand(words, out[b])
    return out


@njit(cache=True)
def _integers(keys, where, n):  # type: ignore[no-untyped-def]
    out = np.zeros(where.shape, np.int64)
    for b in range(where.shape[0]):
        for t in range(where.shape[1]):
            if where[b, t]:
                out[b, t] = np.int64(unit(word(keys[b], UINT64(t))) * n)
    return out


def bernoulli(keys: NDArray[np.uint64], probability: NDArray[np.float64] | float, block_size: int) -> NDArray[np.bool_]:
    """(B, T) bool, each True with the `probability` (B,), or the one for all, of its row."""
    each = np.ascontiguousarray(np.broadcast_to(np.asarray(probability, np.float64), keys.shape))
    return as_positions(_rows(keys, each, block_size), block_size)


def uniform_integers(keys: NDArray[np.uint64], where: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """(B, T) integers, uniform in 0..n-1 at the positions `where` (B, T) and 0 elsewhere."""
    drawn: NDArray[np.int64] = _integers(keys, where, n)
    return drawn
