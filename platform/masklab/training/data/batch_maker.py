"""Makes batches: a pure function of the seed and a key, the same for any number of workers and in any order.

Shapes: R rows of the global batch, B of them requested, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from masklab.curriculum.curriculum import Curriculum
from masklab.modes.examples import Examples
from masklab.modes.mode import Mode
from masklab.rng import RowStreams, root_key
from masklab.text.rows import Rows, RowSource
from masklab.text.vocabulary import Vocabulary
from masklab.training.data.batch import Batch, BatchKey, digest_of
from masklab.training.loss import denominator, row_coefficients
from masklab.training.settings import ObjectiveSettings


@dataclass(frozen=True)
class BatchMaker:
    """Makes every batch of a run."""

    mode: Mode
    texts: RowSource
    vocabulary: Vocabulary
    curriculum: Curriculum
    objective: ObjectiveSettings
    seed: int
    rows_per_step: int

    def make(self, key: BatchKey, first: int = 0, last: int | None = None) -> Batch:
        """Rows `first` up to `last` (exclusive) of the global batch `key`; by default all R.

        The text of row i depends on seed, step and i only, so that two curricula with one seed read the same windows.
        """
        rows = np.arange(first, self.rows_per_step if last is None else last)
        made = self._examples(key, rows, self.texts.take(self.seed, key.step * self.rows_per_step + rows))
        return Batch(
            key=key,
            inputs=made.inputs,
            targets=made.targets,
            selected=made.selected,
            noise_level=made.noise_level,
            coefficients=row_coefficients(self.objective, made.draw),
            denominator=denominator(self.objective, made.selected),
            digest=digest_of(key, rows, made.inputs, made.targets, made.selected),
        )

    def _examples(self, key: BatchKey, rows: NDArray[np.int64], texts: Rows) -> Examples:
        """Each row's example: row i belongs to the mixed stage number i modulo their count."""
        mixed = self.curriculum.mixed_stages(key.stage)
        parts, places = [], []
        for place, stage in enumerate(mixed):
            mine = np.flatnonzero(rows % len(mixed) == place)
            if not len(mine):
                continue
            total = len(range(place, self.rows_per_step, len(mixed)))
            streams = RowStreams.of(root_key(self.seed, stage, key.step), rows[mine] // len(mixed), total)
            parts.append(self.mode.examples(texts.at(mine), self.curriculum.stages[stage].masking, streams, self.vocabulary))
            places.append(mine)
        return parts[0] if len(parts) == 1 else Examples.joined(parts).at(np.argsort(np.concatenate(places)))


class BatchSource(Protocol):
    """Gives the loop its part of each global batch."""

    def take(self, key: BatchKey) -> Batch:
        """This worker's rows of the batch `key`."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class LocalSource:
    """Makes rows `first` up to `last` of each batch on request."""

    maker: BatchMaker
    first: int
    last: int

    def take(self, key: BatchKey) -> Batch:
        return self.maker.make(key, self.first, self.last)

    def close(self) -> None:
        """Nothing is fetched ahead."""
