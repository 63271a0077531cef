"""Makes batches: a pure function of the seed and a key, the same for any number of workers and in any order.

Shapes: R rows of the global batch, B of them asked for, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.masking import MaskDraw
from masklab.curriculum.curriculum import Curriculum
from masklab.rng import RowStreams, root_key
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import Windows
from masklab.training.batch import Batch, BatchKey, Tokens, digest_of
from masklab.training.objective import denominator, row_coefficients
from masklab.training.settings import ObjectiveSettings


@dataclass(frozen=True)
class BatchMaker:
    """The recipe of every batch of a run."""

    windows: Windows
    vocabulary: Vocabulary
    curriculum: Curriculum
    objective: ObjectiveSettings
    seed: int
    rows_per_step: int

    def make(self, key: BatchKey, first: int = 0, last: int | None = None) -> Batch:
        """Rows `first` up to `last` of the global batch `key`; all R of them when not given.

        The text of row i depends on the seed, the step and i alone, so two curricula with one seed read the same windows.
        """
        rows = np.arange(first, self.rows_per_step if last is None else last)
        targets = self.windows.take(self.seed, key.step * self.rows_per_step + rows)
        inputs, draw = self._corrupt(key, rows, targets)
        return Batch(
            key=key,
            inputs=inputs,
            targets=targets,
            selected=draw.selected,
            noise_level=draw.probability,
            coefficients=row_coefficients(self.objective, draw),
            denominator=denominator(self.objective, draw.selected),
            digest=digest_of(key, rows, inputs, targets, draw.selected),
        )

    def _corrupt(self, key: BatchKey, rows: NDArray[np.int64], targets: Tokens) -> tuple[Tokens, MaskDraw]:
        """Corrupt each row by its stage: row i belongs to the mixed stage number i modulo their count."""
        mixed = self.curriculum.mixed_stages(key.stage)
        inputs = np.empty_like(targets)
        whole = MaskDraw(np.empty(targets.shape, bool), np.empty(len(rows), np.float32), np.empty(len(rows), np.float32))
        for place, stage in enumerate(mixed):
            mine = rows % len(mixed) == place
            if not mine.any():
                continue
            total = len(range(place, self.rows_per_step, len(mixed)))
            streams = RowStreams.of(root_key(self.seed, stage, key.step), rows[mine] // len(mixed), total)
            masking = self.curriculum.stages[stage].masking
            draw = masking.draw(streams, targets.shape[1])
            inputs[mine] = masking.replacement.apply(targets[mine], draw.selected, streams, self.vocabulary)
            whole.selected[mine] = draw.selected
            whole.probability[mine] = draw.probability
            whole.elbo_weight[mine] = draw.elbo_weight
        return inputs, whole


class BatchSource(Protocol):
    """Hands the loop its part of each global batch."""

    def take(self, key: BatchKey) -> Batch:
        """This worker's rows of the batch `key`."""
        ...

    def close(self) -> None:
        """Let go of whatever was fetched ahead."""
        ...


@dataclass(frozen=True)
class LocalSource:
    """Makes each batch when it is asked for, rows `first` up to `last`."""

    maker: BatchMaker
    first: int
    last: int

    def take(self, key: BatchKey) -> Batch:
        """This worker's rows of the batch `key`."""
        return self.maker.make(key, self.first, self.last)

    def close(self) -> None:
        """Nothing is fetched ahead."""
