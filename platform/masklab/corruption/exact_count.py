"""A uniform number of positions, and a uniform subset of that size: the any-order view of masked diffusion.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masklab.corruption.mask_words import ZERO, as_positions, expand, positions_in, thin, word_count
from masklab.corruption.masking import MaskDraw, Masking
from masklab.rng import RowStreams, Stream


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


class ExactCount(Masking):
    """k ~ U{1..T}, stratified over the batch, and a uniform k-subset of the T positions.

    With weight T/k the loss is an unbiased bound on the likelihood over all orders of generation (Hoogeboom et al. 2022,
    "Autoregressive diffusion models", eq. 4; Ou et al. 2024).
    """

    type: Literal["exact_count"] = "exact_count"
    """Name of the masking strategy."""

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select exactly k positions; the probability of a row is k/T."""
        u = streams.stratified(Stream.LEVEL)
        count = np.minimum(1 + np.floor(block_size * u).astype(np.int64), block_size)
        return MaskDraw.at(uniform_subset(streams.stream(Stream.MASK), count, block_size), count / block_size)

    def expected_ratio(self, block_size: int) -> float:
        return (block_size + 1) / (2 * block_size)

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        return 1 / block_size, 1.0

    def describe(self) -> str:
        return "exact count 1..T"
