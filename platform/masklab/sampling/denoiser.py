"""The network as samplers see it: exact logits where a text is masked, counted, and never computed twice for the same text.

Shapes: B texts, R of these rows, T positions, M masked positions in these rows, K masked positions of one row, V characters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.model.training_mode import evaluation_mode
from masklab.model.transformer import Transformer
from masklab.sampling.canvas import Canvas


@dataclass(frozen=True)
class Remembered:
    """The last prediction for a row, and all that it was a function of."""

    tokens_T: NDArray[np.int64]
    masked_T: NDArray[np.bool_]
    noise_level: float
    logits_KV: NDArray[np.float64]


@dataclass
class Denoiser:
    """Predictions of `model`, `batch_size` texts at a time.

    `evaluations` (B,) counts the passes through the network that each text has taken, `positions` (B,) those of its positions that
    were in them. A text that has not changed since its last
    prediction, compared exactly, is not passed through again; a time-conditioned network's noise level must be the same too.
    """

    model: Transformer
    count: int
    batch_size: int = 64
    reuse: bool = True
    evaluations: NDArray[np.int64] = field(init=False)
    positions: NDArray[np.int64] = field(init=False)
    device: torch.device = field(init=False)
    _last: dict[int, Remembered] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.evaluations, self.positions = np.zeros(self.count, np.int64), np.zeros(self.count, np.int64)
        self._is_conditioned = getattr(self.model, "noise_embedding", None) is not None
        self.device = next(self.model.parameters()).device

    def logits(self, canvas: Canvas, rows_R: NDArray[np.int64], noise_level_R: NDArray[np.float64]) -> NDArray[np.float64]:
        """Float64 logits (M, V) at every masked position of the rows `rows` (R,), in the order of the text."""
        masked_RT = canvas.masked[rows_R]
        seen = zip(rows_R, canvas.tokens[rows_R], masked_RT, noise_level_R, strict=True)
        changed = [place for place, (row, *state) in enumerate(seen) if not self._knows(int(row), *state)]
        with evaluation_mode(self.model):
            for first in range(0, len(changed), self.batch_size):
                part = np.array(changed[first : first + self.batch_size])
                self._ask(rows_R[part], canvas.tokens[rows_R[part]], masked_RT[part], noise_level_R[part])
        return np.concatenate([self._last[int(row)].logits_KV for row in rows_R])

    def _knows(self, row: int, tokens_T: NDArray[np.int64], masked_T: NDArray[np.bool_], noise_level: float) -> bool:
        last = self._last.get(row)
        if last is None or not self.reuse:
            return False
        same_level = not self._is_conditioned or last.noise_level == noise_level
        return same_level and np.array_equal(last.tokens_T, tokens_T) and np.array_equal(last.masked_T, masked_T)

    def _ask(
        self, rows_R: NDArray[np.int64], tokens_RT: NDArray[np.int64], masked_RT: NDArray[np.bool_], noise_level_R: NDArray[np.float64]
    ) -> None:
        hidden_MC = self.model.hidden(
            torch.from_numpy(tokens_RT).to(self.device),
            torch.from_numpy(noise_level_R.astype(np.float32)).to(self.device),
            torch.from_numpy(np.flatnonzero(masked_RT)).to(self.device),
        )
        logits_MV: NDArray[np.float64] = self.model.head(hidden_MC).cpu().double().numpy()
        ends = masked_RT.sum(axis=1).cumsum()
        for place, row in enumerate(rows_R):
            start = ends[place - 1] if place else 0
            logits_KV = logits_MV[start : ends[place]]
            self._last[int(row)] = Remembered(tokens_RT[place], masked_RT[place], float(noise_level_R[place]), logits_KV)
        self.evaluations[rows_R] += 1
        self.positions[rows_R] += tokens_RT.shape[1]
