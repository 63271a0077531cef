"""Networks as the judges of written characters: one that predicts masked characters, and one that detects replaced ones.

Shapes: B texts, R of these rows, T positions, M hidden positions in these rows, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.model.training_mode import evaluation_mode
from masklab.model.transformer import Transformer
from masklab.modes.replaced_token_detector import log_odds
from masklab.sampling.canvas import Canvas
from masklab.sampling.decoding import log_softmax


@dataclass
class FoldedJudge:
    """The doubt about a character is 1 - p(character | the characters outside its fold).

    The terms of a pseudo-log-likelihood (Salazar et al. 2020, "Masked language model scoring", section 2), but with every `folds`-th
    generated character hidden at once, so that a text takes `folds` passes through the network and not one for each character.
    Given characters are in no doubt, and always visible. `evaluations` (B,) counts the passes of each of the `count` texts.
    """

    model: Transformer
    mask_id: int
    count: int
    folds: int = 2
    batch_size: int = 64
    evaluations: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        assert self.folds >= 1
        self.evaluations = np.zeros(self.count, np.int64)

    def doubt(self, canvas: Canvas, rows_R: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R, T), from 0 for none to 1; 0 at positions that are given or masked."""
        doubt_RT = np.zeros((len(rows_R), canvas.tokens.shape[1]))
        with evaluation_mode(self.model):
            for first in range(0, len(rows_R), self.batch_size):
                part = slice(first, first + self.batch_size)
                doubt_RT[part] = self._doubt(canvas, rows_R[part])
        return doubt_RT

    def _doubt(self, canvas: Canvas, rows_R: NDArray[np.int64]) -> NDArray[np.float64]:
        tokens_RT = canvas.tokens[rows_R]
        doubtful_RT = ~canvas.given[rows_R] & (tokens_RT != self.mask_id)
        doubt_RT = np.zeros(tokens_RT.shape)
        for fold in range(self.folds):
            hidden_RT = doubtful_RT & (np.arange(tokens_RT.shape[1]) % self.folds == fold)
            needed_R = hidden_RT.any(axis=1)
            if needed_R.any():
                doubt_RT[hidden_RT] = self._improbability(tokens_RT[needed_R], hidden_RT[needed_R])
                self.evaluations[rows_R[needed_R]] += 1
        return doubt_RT

    def _improbability(self, tokens_RT: NDArray[np.int64], hidden_RT: NDArray[np.bool_]) -> NDArray[np.float64]:
        """1 - p (M,) of the `hidden` characters, seen all others."""
        device = next(self.model.parameters()).device
        inputs_RT = np.where(hidden_RT, self.mask_id, tokens_RT)
        noise_level_R = (inputs_RT == self.mask_id).mean(axis=1).astype(np.float32)
        hidden_MC = self.model.hidden(
            torch.from_numpy(inputs_RT).to(device),
            torch.from_numpy(noise_level_R).to(device),
            torch.from_numpy(np.flatnonzero(hidden_RT)).to(device),
        )
        log_MV = log_softmax(self.model.head(hidden_MC).cpu().double().numpy())
        log_M: NDArray[np.float64] = np.take_along_axis(log_MV, tokens_RT[hidden_RT][:, None], axis=1)[:, 0]
        return -np.expm1(log_M)


@dataclass
class DetectorJudge:
    """The doubt about a character is the probability that it is a replaced one, by a detector that sees the whole text in one pass.

    The odds are those that the network itself gives: samplers only compare doubts with each other.
    `evaluations` (B,) counts the passes of each of the `count` texts.
    """

    model: Transformer
    mask_id: int
    count: int
    batch_size: int = 64
    evaluations: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.evaluations = np.zeros(self.count, np.int64)

    def doubt(self, canvas: Canvas, rows_R: NDArray[np.int64]) -> NDArray[np.float64]:
        """(R, T), from 0 for none to 1; 0 at positions that are given or masked."""
        tokens_RT = canvas.tokens[rows_R]
        doubtful_RT = ~canvas.given[rows_R] & (tokens_RT != self.mask_id)
        needed_R = doubtful_RT.any(axis=1)
        doubt_RT = np.zeros(tokens_RT.shape)
        odds = log_odds(self.model, tokens_RT[needed_R], self.batch_size, next(self.model.parameters()).device)
        doubt_RT[needed_R] = np.where(doubtful_RT[needed_R], (1 + np.tanh(odds / 2)) / 2, 0.0)
        self.evaluations[rows_R[needed_R]] += 1
        return doubt_RT
