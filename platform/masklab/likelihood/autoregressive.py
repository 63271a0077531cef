"""The exact negative log-likelihood of a causal model, to compare with the NELBO of a masked-diffusion model.

Shapes: N windows, B of them at a time, G given characters, T scored ones, C channels, V characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.windows import ScoredWindows
from masklab.model.training_mode import evaluation_mode
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import compare


def autoregressive_nll(model: Transformer, windows: ScoredWindows, batch_size: int) -> SequenceValues:
    """-log p of the T scored characters given the G before them, divided by T, in each of the windows (N,).

    It is exact: by the chain rule, the sum of the cross-entropies. `model` must be causal, and is given noise level 0, as in training.
    Raises ValueError without a given character, since nothing would predict the first one.
    """
    if windows.context < 1:
        raise ValueError(f"context={windows.context}: a causal model predicts from at least 1 given character; use context=1 or more")
    parts = [windows.tokens[first : first + batch_size] for first in range(0, len(windows), batch_size)]
    with evaluation_mode(model):
        return SequenceValues(np.concatenate([_mean_cross_entropy(model, part, windows.context) for part in parts]))


def _mean_cross_entropy(model: Transformer, tokens: NDArray[Any], context: int) -> Floats:
    """The mean (B,) over the scored positions of each window (B, G + T)."""
    tokens_BX = torch.from_numpy(tokens.astype(np.int64)).to(next(model.parameters()).device)
    hidden_BTC = model.hidden(tokens_BX[:, :-1], torch.zeros(len(tokens), device=tokens_BX.device))[:, context - 1 :]
    cross_entropy_M, _ = compare(model.head(hidden_BTC).flatten(0, 1), tokens_BX[:, context:].flatten())
    return np.asarray(cross_entropy_M.reshape(len(tokens), -1).mean(axis=1))
