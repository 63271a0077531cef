"""Made-up generations for the tests of unmasking: written out by hand, or drawn at random with characters that are masked again.

Shapes: B texts, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary

BLANK = "_"
"""A masked position in a story."""


def vocabulary_of(text: str) -> Vocabulary:
    return Vocabulary.of_text(text.replace(BLANK, "") or "?")


def told(frames: Sequence[Sequence[str]], vocabulary: Vocabulary, given: str = "", confidence: float = 0.5) -> Trace:
    """Each frame holds the texts after a step, `_` where masked; the first characters are `given`."""
    snapshots: list[Snapshot] = []
    shape = (len(frames[0]), len(frames[0][0]))
    prompt = np.broadcast_to(np.arange(shape[1]) < len(given), shape)
    before, placed_at = np.full(shape, vocabulary.mask_id), np.zeros(shape, np.int64)
    for step, texts in enumerate(frames):
        tokens = np.array([[vocabulary.mask_id if c == BLANK else int(vocabulary.encode(c)[0]) for c in text] for text in texts])
        masked = tokens == vocabulary.mask_id
        placed_at = np.where(masked | prompt, 0, np.where(tokens != before, step, placed_at))
        sure = np.where(prompt, 1.0, np.where(masked, np.nan, confidence))
        snapshots.append(Snapshot(step, tokens, placed_at, sure, np.full(shape[0], step)))
        before = tokens
    return Trace(prompt, vocabulary.mask_id, tuple(snapshots))


def drawn(
    text: str, vocabulary: Vocabulary, *, count: int = 2, steps: int = 8, given: int = 0, remasked: float = 0.1, seed: int = 0
) -> Trace:
    """`count` texts that become more and more like `text`, each in an order of its own; written characters are masked again at times."""
    rng, goal = np.random.default_rng(seed), vocabulary.encode(text).astype(np.int64)
    shape = (count, len(text))
    prompt = np.broadcast_to(np.arange(len(text)) < given, shape)
    tokens = np.where(prompt, goal, vocabulary.mask_id)
    placed_at, confidence = np.zeros(shape, np.int64), np.where(prompt, 1.0, np.nan)
    snapshots = [Snapshot(0, tokens, placed_at, confidence, np.zeros(count, np.int64))]
    for step in range(1, steps + 1):
        masked = tokens == vocabulary.mask_id
        write = masked & (rng.random(shape) < 1 / (steps + 1 - step))
        erase = ~masked & ~prompt & (rng.random(shape) < remasked * (step < steps))
        characters = np.where(rng.random(shape) < step / steps, goal, rng.integers(vocabulary.size, size=shape))
        tokens = np.where(write, characters, np.where(erase, vocabulary.mask_id, tokens))
        placed_at = np.where(write, step, np.where(erase, 0, placed_at))
        confidence = np.where(write, rng.random(shape), np.where(erase, np.nan, confidence))
        snapshots.append(Snapshot(step, tokens, placed_at, confidence, np.full(count, step)))
    return Trace(prompt, vocabulary.mask_id, tuple(snapshots))
