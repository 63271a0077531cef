"""Texts on their way from masks to characters.

Shapes: B texts, T positions, M positions that change together.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from masklab.rng import RowStreams, Stream, fold, root_key, uniforms

TEXTS = 4_000_000
"""Number under which generated texts are keyed, apart from every stage, pool and window of the same seed."""


class Draw(IntEnum):
    """Names of the independent random numbers that one step has for each position."""

    CHARACTER = 1
    ORDER = 2
    REMASK = 3


@dataclass
class Canvas:
    """What is written so far. A row's random numbers depend on the seed, its number and the step alone, not on other rows.

    `tokens` (B, T) int64; `given` (B, T) bool, the characters of the prompt, which never change; `placed_at` (B, T) int64, the step
    that wrote the character now there, 0 where it was given or is masked; `confidence` (B, T) float64, the probability that the
    network gave it then, at temperature 1: 1 where it was given, NaN where nothing is written. `keys` (B,) uint64 of the rows.
    `step` counts from 1; the random numbers are those of step number `step - steps_before`.
    """

    tokens: NDArray[np.int64]
    given: NDArray[np.bool_]
    placed_at: NDArray[np.int64]
    confidence: NDArray[np.float64]
    keys: NDArray[np.uint64]
    mask_id: int
    step: int = 1
    steps_before: int = 0

    @classmethod
    def of(cls, start_T: NDArray[np.int64], given_T: NDArray[np.bool_], mask_id: int, seed: int, count: int) -> Canvas:
        """`count` copies of the text `start` (T,), each with random numbers of its own."""
        confidence_T = np.where(given_T, 1.0, np.nan)
        return cls(
            tokens=np.tile(start_T, (count, 1)),
            given=np.tile(given_T, (count, 1)),
            placed_at=np.zeros((count, len(start_T)), np.int64),
            confidence=np.tile(confidence_T, (count, 1)),
            keys=RowStreams.of(root_key(seed, TEXTS), np.arange(count), count).stream(Stream.SAMPLE),
            mask_id=mask_id,
        )

    @property
    def masked(self) -> NDArray[np.bool_]:
        """Where something is to be written: (B, T)."""
        masked: NDArray[np.bool_] = (self.tokens == self.mask_id) & ~self.given
        return masked

    @property
    def masked_share(self) -> NDArray[np.float64]:
        """Masked positions over all positions, (B,): the noise level of a time-conditioned network where no time is defined."""
        share: NDArray[np.float64] = (self.tokens == self.mask_id).mean(axis=1)
        return share

    def uniforms(self, purpose: Draw) -> NDArray[np.float64]:
        return uniforms(fold(fold(self.keys, self.step - self.steps_before), int(purpose)), self.tokens.shape[1])

    def place(self, where: NDArray[np.bool_], characters_M: NDArray[np.int64], probability_M: NDArray[np.float64]) -> None:
        """Write `characters` (M,) at the M positions of `where` (B, T), row by row, with the network's `probability` (M,) of each."""
        assert not (where & self.given).any()
        self.tokens[where] = characters_M
        self.confidence[where] = probability_M
        self.placed_at[where] = self.step

    def erase(self, where: NDArray[np.bool_]) -> None:
        """Mask the positions of `where` (B, T) again."""
        assert not (where & self.given).any()
        self.tokens[where] = self.mask_id
        self.confidence[where] = np.nan
        self.placed_at[where] = 0

    def part(self, block: slice, window: slice, number: int = 0) -> Canvas:
        """The positions of `window`: a canvas that writes through to this one, but at `block` alone; all else counts as given.

        Its random numbers depend on `number`, and not on the steps before, of which another text may have taken more; those of part 0
        are the whole canvas's own. The caller keeps its `step` at this one's.
        """
        here = np.s_[:, window]
        given = self.given[here].copy()
        given[:, : block.start - window.start] = True
        given[:, block.stop - window.start :] = True
        return Canvas(
            self.tokens[here],
            given,
            self.placed_at[here],
            self.confidence[here],
            # steps count from 1, so a negative number is none of them
            fold(self.keys, -number) if number else self.keys,
            self.mask_id,
            self.step,
            self.step - 1,
        )
