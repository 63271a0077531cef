"""Validation pools: examples that are made once, hashed, and the same in every run.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from masklab.corruption.masking import Masking
from masklab.curriculum.curriculum import Curriculum
from masklab.errors import DataError
from masklab.modes.examples import Examples
from masklab.modes.mode import Mode
from masklab.rng import RowStreams, root_key
from masklab.text.preparation import Corpus
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary
from masklab.training.settings import ValidationSettings

YARDSTICK = 1_000_000
"""Key of the NELBO pools' masks, apart from the keys of the stages."""


@dataclass(frozen=True)
class ValidationPool(Examples):
    """Frozen examples (N, T)."""

    @property
    def digest(self) -> str:
        """A hash of every input, target and mask."""
        sha = hashlib.sha256(str((self.inputs.shape, str(self.inputs.dtype))).encode())
        for array in (self.inputs, self.targets, np.packbits(self.selected), self.noise_level):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    @property
    def mask_ratio(self) -> float:
        return float(self.selected.mean())

    @property
    def run_length(self) -> float:
        """Mean length of the runs of selected positions, in characters; 0 if none is selected."""
        starts = self.selected.copy()
        starts[:, 1:] &= ~self.selected[:, :-1]
        runs = int(starts.sum())
        return float(self.selected.sum() / runs) if runs else 0.0

    @classmethod
    def made(cls, mode: Mode, masking: Masking, rows: Rows, vocabulary: Vocabulary, seed: int, number: int) -> ValidationPool:
        """The examples of `mode` from `rows` (N, window), corrupted by `masking` under the key `(seed, number)`."""
        streams = RowStreams.of(root_key(seed, number), np.arange(len(rows)), len(rows))
        return cls.of(mode.examples(rows, masking, streams, vocabulary))


@dataclass(frozen=True)
class Pools:
    """One pool for each validation stage, and the two NELBO pools, if the mode has a likelihood."""

    stages: tuple[ValidationPool, ...]
    nelbo: ValidationPool | None
    final_nelbo: ValidationPool | None

    @property
    def digest(self) -> str:
        pools = (*self.stages, *filter(None, (self.nelbo, self.final_nelbo)))
        return hashlib.sha256("".join(p.digest for p in pools).encode()).hexdigest()


def make_pools(corpus: Corpus, mode: Mode, curriculum: Curriculum, settings: ValidationSettings, block_size: int) -> Pools:
    """Make the pools of a run from rows spread evenly over the validation split.

    Raises DataError if a pool has nothing to score, such as no selected position, where the loss would be 0/0.
    """

    def made(masking: Masking, count: int, number: int) -> ValidationPool:
        rows = corpus.validation_rows(mode.window(block_size), count)
        return ValidationPool.made(mode, masking, rows, corpus.vocabulary, settings.seed, number)

    stages = tuple(made(stage.masking, settings.sequences, number) for number, stage in enumerate(curriculum.pools))
    for number, pool in enumerate(stages):
        if lack := mode.shortcoming(pool):
            raise DataError(
                f"validation stage {number} ({curriculum.pools[number].masking.describe()}) {lack} in {len(pool)} sequences of "
                f"{block_size} characters; raise its mask ratio or validation.sequences"
            )
    if mode.yardstick is None:
        return Pools(stages, None, None)
    counts = (settings.nelbo_sequences, settings.final_nelbo_sequences)
    return Pools(stages, *(made(mode.yardstick, count, YARDSTICK + i) for i, count in enumerate(counts)))
