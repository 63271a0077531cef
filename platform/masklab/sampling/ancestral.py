"""Ancestral sampling: the absorbing-state forward process run backwards, from all masked to text.

Shapes: B texts, T positions, M positions unmasked in one step, V characters.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.errors import ConfigError
from masklab.model.evaluation_mode import evaluation_mode
from masklab.model.transformer import Transformer
from masklab.rng import RowStreams, Stream, fold, root_key, uniforms
from masklab.sampling.settings import SamplingSettings
from masklab.text.vocabulary import Vocabulary


def sample(model: Transformer, vocabulary: Vocabulary, block_size: int, settings: SamplingSettings) -> list[str]:
    """Generate `settings.num_samples` texts; the same settings give the same texts, and each is as it would be alone.

    Raises ConfigError if the text asked for is longer than the `block_size` the model was trained on, or the prompt longer
    than the text, and DataError if the prompt has a character that is not in the vocabulary.
    """
    length = block_size if settings.length is None else settings.length
    if length > block_size:
        raise ConfigError(f"sampling.length={length} is more than the model's block_size={block_size}; give at most {block_size}")
    if len(settings.prompt) > length:
        raise ConfigError(f"sampling.prompt has {len(settings.prompt)} characters, more than the {length} to generate; shorten it")
    start_T = np.full(length, vocabulary.mask_id, np.int64)
    start_T[: len(settings.prompt)] = vocabulary.encode(settings.prompt)
    tokens_BT = reverse_process(model, np.tile(start_T, (settings.num_samples, 1)), vocabulary.mask_id, settings)
    return [vocabulary.decode(row.astype(vocabulary.dtype)) for row in tokens_BT]


def reverse_process(model: Transformer, tokens_BT: NDArray[np.int64], mask_id: int, settings: SamplingSettings) -> NDArray[np.int64]:
    """Fill every masked position of `tokens` (B, T); all others keep their character.

    With the linear schedule a position is masked at time t with probability t. On the grid t = 1, 1 - 1/steps, ..., 0 each masked
    position is unmasked with probability (t - s) / t from t to s (Austin et al. 2021, "D3PM"; Sahoo et al. 2024, "MDLM"), and takes
    a character of the network's distribution. The last step ends at 0 and so leaves nothing masked.
    """
    tokens_BT = tokens_BT.copy()
    B, T = tokens_BT.shape
    keys_B = RowStreams.of(root_key(settings.seed), np.arange(B), B).stream(Stream.SAMPLE)
    with evaluation_mode(model):
        for step in range(settings.steps):
            steps_left = settings.steps - step
            u_B2T = uniforms(fold(keys_B, step), 2 * T)
            # (t - s) / t = 1 / steps_left
            unmasked_BT = (tokens_BT == mask_id) & (u_B2T[:, :T] * steps_left < 1)
            # a row with nothing to unmask needs no pass through the network
            rows = np.flatnonzero(unmasked_BT.any(axis=1))
            if not len(rows):
                continue
            logits_MV = _logits(model, tokens_BT[rows], steps_left / settings.steps, unmasked_BT[rows])
            tokens_BT[unmasked_BT] = draw_characters(logits_MV, u_B2T[:, T:][unmasked_BT], settings.temperature)
    return tokens_BT


def _logits(model: Transformer, tokens_BT: NDArray[np.int64], noise_level: float, chosen_BT: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The network's float64 logits (M, V) at the chosen positions, row by row."""
    device = next(model.parameters()).device
    positions_M = torch.from_numpy(np.flatnonzero(chosen_BT)).to(device)
    noise_level_B = torch.full((len(tokens_BT),), noise_level, device=device)
    logits_MV = model.head(model.hidden(torch.from_numpy(tokens_BT).to(device), noise_level_B, positions_M))
    exact: NDArray[np.float64] = logits_MV.cpu().double().numpy()
    return exact


def draw_characters(logits_MV: NDArray[np.float64], u_M: NDArray[np.float64], temperature: float) -> NDArray[np.int64]:
    """Characters (M,) of softmax(logits / temperature) by the inverse of its distribution function at `u` in [0, 1).

    Temperature 0 takes the most probable one. A character of probability 0 is never drawn.
    """
    if temperature == 0:
        best_M: NDArray[np.int64] = logits_MV.argmax(axis=1)
        return best_M
    centred_MV = logits_MV - logits_MV.max(axis=1, keepdims=True)
    cumulative_MV = np.exp(centred_MV / temperature).cumsum(axis=1)
    total_M1 = cumulative_MV[:, -1:]
    # u * total may round up to the total itself
    last_M = (cumulative_MV < total_M1).sum(axis=1)
    drawn_M: NDArray[np.int64] = np.minimum((cumulative_MV <= u_M[:, None] * total_M1).sum(axis=1), last_M)
    return drawn_M
