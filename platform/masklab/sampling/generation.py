"""Generating text with a trained model: the one way in, whatever the sampler.

Shapes: B texts, T positions, S steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.model.transformer import Transformer
from masklab.sampling.canvas import Canvas
from masklab.sampling.denoiser import Denoiser
from masklab.sampling.prompt import Prompt
from masklab.sampling.sampler import Judge, ReverseProcess
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.trace import Snapshot
from masklab.text.vocabulary import Vocabulary

Watcher = Callable[[Snapshot], None]


@dataclass(frozen=True)
class Generation:
    """Written texts and what they took.

    `tokens` (B, T) int64; `given`, `placed_at`, `confidence` as in `Canvas`; `written` (S, B) int64, the characters that each step
    wrote; `evaluations` (B,) int64, the passes through a network that each text took, a judge's included, and `positions` (B,) int64,
    its positions that went through the one that wrote it.
    """

    tokens: NDArray[np.int64]
    given: NDArray[np.bool_]
    placed_at: NDArray[np.int64]
    confidence: NDArray[np.float64]
    written: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    positions: NDArray[np.int64]
    seconds: float

    def texts(self, vocabulary: Vocabulary) -> list[str]:
        return [vocabulary.decode(row.astype(vocabulary.dtype)) for row in self.tokens]

    @property
    def characters_per_second(self) -> float:
        """Written characters, over all texts, in a second."""
        return float((~self.given).sum()) / self.seconds


def sample(model: Transformer, vocabulary: Vocabulary, block_size: int, settings: SamplingSettings) -> list[str]:
    return generate(model, vocabulary, block_size, settings).texts(vocabulary)


def generate(
    model: Transformer,
    vocabulary: Vocabulary,
    block_size: int,
    settings: SamplingSettings,
    judge: Judge | None = None,
    watch: Watcher | None = None,
) -> Generation:
    """Generate `settings.num_samples` texts; the same settings give the same texts, and each is as it would be alone.

    `watch` is called before the first step and after each. Raises ConfigError for a sampler that does not go with the model, a prompt
    that does not fit the length, or a length that the sampler cannot reach with a model trained on `block_size` characters, and
    DataError for unknown characters in the prompt.
    """
    settings = settings.suited(getattr(model, "causal", False))
    start_T, given_T = start_of(settings, vocabulary, block_size)
    canvas = Canvas.of(start_T, given_T, vocabulary.mask_id, settings.seed, settings.num_samples)
    denoiser = Denoiser(model, settings.num_samples, settings.batch_size)
    return run(ReverseProcess(canvas, denoiser, settings, block_size, judge, before(vocabulary)), settings, watch)


def before(vocabulary: Vocabulary) -> int:
    """The character after which a text begins: a new line, or where there is none a blank, or the first of the vocabulary."""
    return next((int(vocabulary.encode(character)[0]) for character in "\n " if character in vocabulary.characters), 0)


def start_of(settings: SamplingSettings, vocabulary: Vocabulary, block_size: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The masked text (T,) that sampling starts from, and what of it is given (T,). Raises as `generate` does."""
    settings.sampler.check(block_size)
    limit = None if settings.sampler.exceeds_block_size else block_size
    start_T, given_T = Prompt.parse(settings.prompt).tokens(vocabulary, settings.length, block_size, settings.unknown, limit)
    settings.sampler.check_given(given_T)
    return start_T, given_T


def run(process: ReverseProcess, settings: SamplingSettings, watch: Watcher | None = None) -> Generation:
    canvas, began = process.canvas, time.perf_counter()

    def evaluations() -> NDArray[np.int64]:
        judged = process.judge.evaluations if process.judge else 0
        total: NDArray[np.int64] = process.denoiser.evaluations + judged
        return total

    if watch:
        watch(Snapshot.of(canvas, 0, evaluations()))
    written: list[NDArray[np.int64]] = []
    for _ in settings.sampler.run(process):
        written.append((canvas.placed_at == canvas.step).sum(axis=1))
        if watch:
            watch(Snapshot.of(canvas, canvas.step, evaluations()))
        canvas.step += 1
    assert not canvas.masked.any(), "a sampler left masks behind"
    return Generation(
        tokens=canvas.tokens,
        given=canvas.given,
        placed_at=canvas.placed_at,
        confidence=canvas.confidence,
        written=np.array(written, np.int64).reshape(-1, len(canvas.tokens)),
        evaluations=evaluations(),
        positions=process.denoiser.positions,
        seconds=time.perf_counter() - began,
    )
