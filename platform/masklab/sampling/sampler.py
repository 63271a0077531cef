"""What every sampler has in common: it takes masked texts to written ones, step by step.

Shapes: B texts, R of these rows, T positions, M masked positions in these rows, V characters.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.noise_schedule import NoiseSchedule
from masklab.sampling.canvas import Canvas, Draw
from masklab.sampling.decoding import Decoding, log_softmax
from masklab.sampling.denoiser import Denoiser
from masklab.schema import Section


class Judge(Protocol):
    """Tells how doubtful the characters of a written text are."""

    evaluations: NDArray[np.int64]
    """Passes through the judge's network that each text has taken, (B,)."""

    def doubt(self, canvas: Canvas, rows_R: NDArray[np.int64]) -> NDArray[np.float64]:
        """How doubtful each character of the rows is, (R, T), larger for more; anything at positions that are given or masked."""
        ...


@dataclass(frozen=True)
class Prediction:
    """What the network says of every masked position of some rows, in the order of the text.

    `where` (B, T) bool, these positions; `log_probability` (M, V) float64 at temperature 1; `drawn` (M,) int64, a character for each
    by the settings of `Decoding`.
    """

    where: NDArray[np.bool_]
    log_probability: NDArray[np.float64]
    drawn: NDArray[np.int64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability, at temperature 1, of each drawn character: (M,)."""
        probability: NDArray[np.float64] = np.exp(np.take_along_axis(self.log_probability, self.drawn[:, None], axis=1)[:, 0])
        return probability

    def spread(self, values_M: NDArray[np.float64], elsewhere: float) -> NDArray[np.float64]:
        """`values` (M,) at their places in the text (B, T), and `elsewhere` at all others."""
        out = np.full(self.where.shape, elsewhere)
        out[self.where] = values_M
        return out


@dataclass(frozen=True)
class ReverseProcess:
    """All that a sampler works with."""

    canvas: Canvas
    denoiser: Denoiser
    decoding: Decoding
    block_size: int
    """Characters of the texts that the model was trained on."""
    judge: Judge | None = None
    before: int = 0
    """The character that a causal model sees before a text of which nothing is given."""

    def predict(self, rows_B: NDArray[np.bool_], noise_level_B: NDArray[np.float64] | None = None) -> Prediction:
        """Predict every masked position of the rows in `rows` (B,) bool, one pass through the network for each row that has changed.

        `noise_level` (B,) is that of the process over the positions that are not given; a time-conditioned network is told what it
        makes of the whole text, as in training, where nothing is given. Without it, it is told the share of masked positions.
        """
        canvas = self.canvas
        where_BT = canvas.masked & rows_B[:, None]
        rows_R = np.flatnonzero(where_BT.any(axis=1))
        if not len(rows_R):
            return Prediction(where_BT, np.zeros((0, 1)), np.zeros(0, np.int64))
        level_B = canvas.masked_share if noise_level_B is None else noise_level_B * (~canvas.given).mean(axis=1)
        logits_MV = self.denoiser.logits(canvas, rows_R, level_B[rows_R])
        nearby_MV = self.decoding.nearby(canvas.tokens, where_BT, logits_MV.shape[1])
        drawn_M = self.decoding.draw(logits_MV, canvas.uniforms(Draw.CHARACTER)[where_BT], nearby_MV)
        return Prediction(where_BT, log_softmax(logits_MV), drawn_M)

    def write(self, prediction: Prediction, chosen_BT: NDArray[np.bool_]) -> None:
        """Write the drawn characters at the `chosen` (B, T) positions, all of them among the predicted ones."""
        assert not (chosen_BT & ~prediction.where).any()
        chosen_M = chosen_BT[prediction.where]
        self.canvas.place(chosen_BT, prediction.drawn[chosen_M], prediction.confidence[chosen_M])


class Sampler(Section):
    """A reverse process: frozen configuration that also samples."""

    causal: ClassVar[bool] = False
    """Whether it writes with a network that sees only what comes before, or with one that fills masks."""
    exceeds_block_size: ClassVar[bool] = False
    """Whether it writes texts longer than those the model was trained on."""

    def check(self, block_size: int) -> None:
        """Raise ConfigError if it cannot sample from a model trained on `block_size` characters."""

    def check_given(self, given_T: NDArray[np.bool_]) -> None:
        """Raise ConfigError if it cannot write a text of which the positions `given` (T,) stand already."""

    @abstractmethod
    def run(self, process: ReverseProcess) -> Iterator[None]:
        """Write all masked positions of `process.canvas`, and yield after each step; the caller counts `canvas.step` up.

        Every row is treated as it would be alone: nothing about a row may depend on another.
        """

    @abstractmethod
    def describe(self) -> str:
        """A few words for tables, e.g. `confidence, 64 steps`."""


def lowest(values_BT: NDArray[np.float64], count_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The `count` (B,) positions of each row whose `values` (B, T) are lowest; the earlier one first where they are equal."""
    rank_BT = np.argsort(np.argsort(values_BT, axis=1, kind="stable"), axis=1, kind="stable")
    return rank_BT < count_B[:, None]


def masked_shares(schedule: NoiseSchedule, steps: int) -> NDArray[np.float64]:
    """`1 - alpha_t` at t = 1, 1 - 1/steps, ..., 0: (steps + 1,), stretched so that it runs from exactly 1 to exactly 0.

    A schedule may stop short of either end, to keep weights finite in training; generation starts from a text that is wholly masked
    and leaves nothing masked. For the linear schedule the shares are t itself, whatever its floor.
    """
    ends = schedule.value(np.array([1.0, 0.0]))
    shares = (schedule.value(np.linspace(1, 0, steps + 1)) - ends[1]) / (ends[0] - ends[1])
    shares[0], shares[-1] = 1.0, 0.0
    return np.asarray(np.clip(shares, 0.0, 1.0))
