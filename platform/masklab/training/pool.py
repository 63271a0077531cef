"""Validation pools: masked sequences made once, hashed, and scored by every run alike.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.exact_count import ExactCount
from masklab.corruption.masking import Masking
from masklab.curriculum.curriculum import Curriculum
from masklab.errors import DataError
from masklab.rng import RowStreams, root_key
from masklab.text.corpus import TokenCorpus
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import evenly_spaced
from masklab.training.batch import Tokens
from masklab.training.settings import ValidationSettings

YARDSTICK = 1_000_000
"""Number under which the yardstick's masks are keyed, apart from those of any stage."""


@dataclass(frozen=True)
class ValidationPool:
    """`inputs` and `targets` (N, T) tokens, `selected` (N, T) bool, `noise_level` (N,) float32."""

    inputs: Tokens
    targets: Tokens
    selected: NDArray[np.bool_]
    noise_level: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.inputs)

    @property
    def digest(self) -> str:
        """A hash of every character and every mask."""
        sha = hashlib.sha256(str((self.inputs.shape, str(self.inputs.dtype))).encode())
        for array in (self.inputs, self.targets, np.packbits(self.selected), self.noise_level):
            sha.update(np.ascontiguousarray(array).tobytes())
        return sha.hexdigest()

    @property
    def mask_ratio(self) -> float:
        """Share of selected positions."""
        return float(self.selected.mean())

    @property
    def run_length(self) -> float:
        """Mean length of the runs of selected positions, in characters; 0 when nothing is selected."""
        starts = self.selected.copy()
        starts[:, 1:] &= ~self.selected[:, :-1]
        runs = int(starts.sum())
        return float(self.selected.sum() / runs) if runs else 0.0

    @classmethod
    def of(cls, masking: Masking, text: Tokens, vocabulary: Vocabulary, seed: int, number: int) -> ValidationPool:
        """Mask the sequences `text` (N, T) once, under the key `(seed, number)`."""
        streams = RowStreams.of(root_key(seed, number), np.arange(len(text)), len(text))
        draw = masking.draw(streams, text.shape[1])
        inputs = masking.replacement.apply(text, draw.selected, streams, vocabulary)
        return cls(inputs, text, draw.selected, draw.probability)


@dataclass(frozen=True)
class Pools:
    """All that an evaluation scores: one pool for each validation stage, and the yardstick's two."""

    stages: tuple[ValidationPool, ...]
    nelbo: ValidationPool
    final_nelbo: ValidationPool

    @property
    def digest(self) -> str:
        """A hash over all the pools."""
        return hashlib.sha256("".join(p.digest for p in (*self.stages, self.nelbo, self.final_nelbo)).encode()).hexdigest()


def make_pools(corpus: TokenCorpus, curriculum: Curriculum, settings: ValidationSettings, block_size: int) -> Pools:
    """Make the pools of a run from windows spread evenly over the validation split.

    Raises DataError when a pool has no selected position at all, since its loss would be 0/0.
    """

    def text(count: int) -> Tokens:
        return evenly_spaced(corpus.validation, block_size, count)

    def yardstick(count: int, number: int) -> ValidationPool:
        return ValidationPool.of(ExactCount(), text(count), corpus.vocabulary, settings.seed, number)

    stages = tuple(
        ValidationPool.of(stage.masking, text(settings.sequences), corpus.vocabulary, settings.seed, number)
        for number, stage in enumerate(curriculum.pools)
    )
    for number, pool in enumerate(stages):
        if not pool.selected.any():
            raise DataError(
                f"validation stage {number} ({curriculum.pools[number].masking.describe()}) masks nothing in {len(pool)} sequences of "
                f"{block_size} characters; raise its mask ratio or validation.sequences"
            )
    return Pools(stages, yardstick(settings.nelbo_sequences, YARDSTICK), yardstick(settings.final_nelbo_sequences, YARDSTICK + 1))
