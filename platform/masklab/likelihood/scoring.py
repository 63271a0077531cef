"""What a model makes of windows of held-out text under given masks.

Shapes: N windows, G given characters, T scored ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.likelihood.windows import ScoredWindows
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import Levels, SequenceScores, score_sequences


def score_windows(
    model: Transformer,
    windows: ScoredWindows,
    masked_NT: NDArray[np.bool_],
    noise_level: Levels,
    batch_size: int,
    predicted_NT: NDArray[np.bool_] | None = None,
) -> SequenceScores:
    """Mask the windows (N, G + T) where `masked` (N, T), and score where `predicted` (N, T), or at all masks if not given.

    `noise_level` (N,) is about the T scored characters; the given ones do not count. The model runs on the device that its weights
    are on; see `score_sequences` for the rest.
    """
    selected = windows.whole(masked_NT if predicted_NT is None else predicted_NT)
    device = next(model.parameters()).device
    return score_sequences(model, windows.masked(masked_NT), windows.tokens, selected, noise_level, batch_size, device)
