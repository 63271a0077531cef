"""Windows of held-out text to score: some given characters and the block that follows them, and their scores under given masks.

Shapes: N windows, G given characters, T scored ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.model.transformer import Transformer
from masklab.modes.character_scores import Levels, SequenceScores, score_sequences
from masklab.rng import RowStreams, root_key
from masklab.text.corpus import TokenCorpus
from masklab.text.windows import evenly_spaced


class Draws(IntEnum):
    """Random-key namespaces of the estimators' masks, distinct from those of stages and validation pools."""

    EXACT_COUNT = 3_000_000
    CONTINUOUS_TIME = 3_000_001
    ORDERS = 3_000_002
    CURVE = 3_000_003


@dataclass(frozen=True, eq=False)
class ScoredWindows:
    """`tokens` (N, G + T): the first G = `context` characters of a window are visible and never masked, the next T are scored."""

    tokens: NDArray[Any]
    context: int
    mask_id: int

    @classmethod
    def of(cls, corpus: TokenCorpus, block_size: int, count: int, context: int = 0) -> Self:
        """`count` windows spread evenly over the validation split. Raises DataError when it is shorter than one window."""
        return cls(evenly_spaced(corpus.validation, context + block_size, count), context, corpus.vocabulary.mask_id)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def block_size(self) -> int:
        """T, the scored characters of a window."""
        return int(self.tokens.shape[1]) - self.context

    def streams(self, seed: int, draws: Draws) -> RowStreams:
        """The random streams of the windows, a function of the seed and of the estimator."""
        return RowStreams.of(root_key(seed, draws), np.arange(len(self)), len(self))

    def whole(self, positions_NT: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A choice of the T scored positions as positions (N, G + T) of the whole window."""
        return np.pad(positions_NT, ((0, 0), (self.context, 0)))

    def masked(self, positions_NT: NDArray[np.bool_]) -> NDArray[Any]:
        """The tokens (N, G + T) with the mask at a choice of the T scored positions."""
        return np.where(self.whole(positions_NT), self.tokens.dtype.type(self.mask_id), self.tokens)


def score_windows(
    model: Transformer,
    windows: ScoredWindows,
    masked_NT: NDArray[np.bool_],
    noise_level: Levels,
    batch_size: int,
    predicted_NT: NDArray[np.bool_] | None = None,
) -> SequenceScores:
    """Mask the windows (N, G + T) at `masked` (N, T), and score them at `predicted` (N, T), or at all masks if not given.

    `noise_level` (N,) is the share of masks among the T scored characters. The model runs on the device of its weights; see
    `score_sequences` for the rest.
    """
    selected = windows.whole(masked_NT if predicted_NT is None else predicted_NT)
    device = next(model.parameters()).device
    return score_sequences(model, windows.masked(masked_NT), windows.tokens, selected, noise_level, batch_size, device)
