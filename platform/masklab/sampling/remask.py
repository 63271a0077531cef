"""Iterative demasking: write everything, and mask the most doubtful part of it again.

Shapes: B texts, R of these rows, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from masklab.errors import ConfigError
from masklab.sampling.canvas import Draw
from masklab.sampling.certainty import negative_entropy
from masklab.sampling.sampler import ReverseProcess, Sampler, lowest

STEPS = 25


class Remask(Sampler):
    """Each step predicts and writes every masked position, and masks a share of the generated ones again: less each time, none at last.

    Ghazvininejad et al. 2019 ("Mask-Predict"), section 3, with a linear share; Chang et al. 2022 ("MaskGIT"), section 3.3, for the cosine.
    Unlike theirs, any character can be masked again, whenever it was written. A row of N generated positions has `ratio * N` of
    them masked again, rounded down: those of the highest score (1 - strength) * rank + strength * u, where the rank of doubt goes
    from 0 for the least doubtful of the N to 1 for the most, equals in random order, and u is uniform in [0, 1).
    """

    strategy: Literal["remask"] = "remask"
    """Name of the sampler."""
    steps: int | None = Field(default=None, ge=1)
    """Sampling steps; 25 if null. Leave it out with a list of ratios, which has its own number of steps."""
    ratios: Literal["linear", "cosine"] | Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], ...], Field(min_length=1)] = "linear"
    """Share of positions remasked after step i: 1 - i / steps (linear), cos(pi/2 i / steps) (cosine), or the i-th value of a list."""
    remask_by: Literal["random", "entropy", "detector"] = "entropy"
    """Which characters are remasked: random ones, those predicted at the highest entropy, or those that a detector network most
    suspects."""
    randomness_strength: float = Field(default=0.0, ge=0, le=1)
    """Weight of chance in the choice of what is remasked: 0 ranks by the `remask_by` score alone, 1 is purely random."""
    detector_checkpoint: str | None = None
    """Checkpoint or run of the detector network, for remask_by=detector."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps is not None and isinstance(self.ratios, tuple):
            raise ValueError(f"steps={self.steps} is given beside a list of ratios, which has its own number of steps; give one of the two")
        if self.remask_by == "detector" and self.detector_checkpoint is None:
            raise ValueError("remask_by=detector lacks detector_checkpoint; give it the run or checkpoint of the network that doubts")
        if self.remask_by != "detector" and self.detector_checkpoint is not None:
            raise ValueError(f"detector_checkpoint is not used by remask_by={self.remask_by}; give remask_by=detector, or leave it out")
        if self.remask_by == "random" and self.randomness_strength:
            raise ValueError("randomness_strength means nothing beside remask_by=random, which is all chance; leave it out")
        return self

    def remasked_shares(self) -> tuple[float, ...]:
        """The share masked again after each step, the last one 0."""
        if isinstance(self.ratios, tuple):
            return self.ratios if self.ratios[-1] == 0 else (*self.ratios, 0.0)
        done = np.arange(1, (self.steps or STEPS)) / (self.steps or STEPS)
        shares = 1 - done if self.ratios == "linear" else np.cos(np.pi / 2 * done)
        return (*shares.tolist(), 0.0)

    def run(self, process: ReverseProcess) -> Iterator[None]:
        """Yield once for each of the shares. Raises ConfigError if a detector is asked for and the process has no judge."""
        if self.remask_by == "detector" and process.judge is None:
            raise ConfigError("sampling.remask_by=detector needs a second network, and none is loaded here; take entropy or random")
        canvas = process.canvas
        own = ~canvas.given
        entropy = np.zeros(own.shape)
        for share in self.remasked_shares():
            prediction = process.predict(canvas.masked.sum(axis=1) > 0)
            entropy[prediction.where] = -negative_entropy(prediction.log_probability)
            process.write(prediction, prediction.where)
            # what should be a whole number may come out a rounding error below it
            count_B = np.floor(own.sum(axis=1) * share + 1e-9).astype(np.int64)
            score = self._score(process, entropy, count_B > 0)
            canvas.erase(lowest(np.where(own, -score, np.inf), count_B))
            yield

    def describe(self) -> str:
        return f"remask by {self.remask_by}, {len(self.remasked_shares())} steps"

    def _score(self, process: ReverseProcess, entropy_BT: NDArray[np.float64], rows_B: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(B, T), highest for what is to be masked again first, in the rows where anything is."""
        canvas = process.canvas
        u_BT = canvas.uniforms(Draw.REMASK)
        strength = 1.0 if self.remask_by == "random" else self.randomness_strength
        rows_R = np.flatnonzero(rows_B)
        if strength == 1 or not len(rows_R):
            return u_BT
        doubt_BT = entropy_BT
        if self.remask_by == "detector":
            assert process.judge is not None
            doubt_BT = np.zeros_like(entropy_BT)
            doubt_BT[rows_R] = process.judge.doubt(canvas, rows_R)
        return (1 - strength) * _rank(doubt_BT, ~canvas.given, u_BT) + strength * u_BT


def _rank(doubt_BT: NDArray[np.float64], own_BT: NDArray[np.bool_], u_BT: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each of a row's `own` positions by its doubt, from 0 to 1, and by `u` where the doubt is the same: (B, T)."""
    order_BT = np.lexsort((u_BT, np.where(own_BT, doubt_BT, -np.inf)), axis=-1)
    place_BT = np.argsort(order_BT, axis=1)
    N_B1 = own_BT.sum(axis=1, keepdims=True)
    rank_BT: NDArray[np.float64] = (place_BT - (own_BT.shape[1] - N_B1)) / np.maximum(N_B1 - 1, 1)
    return rank_BT
