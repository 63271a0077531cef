"""What is scored: windows of held-out text, each of some given characters and the block that follows them.

Shapes: N windows, G given characters, T scored ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.rng import RowStreams, root_key
from masklab.text.corpus import TokenCorpus
from masklab.text.windows import evenly_spaced


class Draws(IntEnum):
    """Numbers under which the masks of each estimator are keyed, apart from those of every stage and every validation pool."""

    EXACT_COUNT = 3_000_000
    CONTINUOUS_TIME = 3_000_001
    ORDERS = 3_000_002
    CURVE = 3_000_003


@dataclass(frozen=True, eq=False)
class ScoredWindows:
    """`tokens` (N, G + T): the first `context` G characters of a window are visible and never masked, the T after them scored."""

    tokens: NDArray[Any]
    context: int
    mask_id: int

    @classmethod
    def of(cls, corpus: TokenCorpus, block_size: int, count: int, context: int = 0) -> Self:
        """`count` windows of T = `block_size` scored characters, spread evenly over the validation split.

        Raises DataError when the split is shorter than one window.
        """
        return cls(evenly_spaced(corpus.validation, context + block_size, count), context, corpus.vocabulary.mask_id)

    def __len__(self) -> int:
        """N."""
        return len(self.tokens)

    @property
    def block_size(self) -> int:
        """T, the scored characters of a window."""
        return int(self.tokens.shape[1]) - self.context

    def streams(self, seed: int, draws: Draws) -> RowStreams:
        """The random streams of the windows, a function of the seed and of what they are drawn for."""
        return RowStreams.of(root_key(seed, draws), np.arange(len(self)), len(self))

    def whole(self, positions_NT: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Chosen ones of the T scored positions as positions (N, G + T) of the whole window."""
        return np.pad(positions_NT, ((0, 0), (self.context, 0)))

    def masked(self, positions_NT: NDArray[np.bool_]) -> NDArray[Any]:
        """The tokens (N, G + T) with the mask at the chosen ones of the T scored positions."""
        return np.where(self.whole(positions_NT), self.tokens.dtype.type(self.mask_id), self.tokens)
