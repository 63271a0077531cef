"""Cross-entropy and accuracy of a model as functions of the share of masked positions.

Shapes: L levels, N windows, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masklab.likelihood.estimate import Floats, SequenceValues
from masklab.likelihood.windows import Draws, ScoredWindows, score_windows
from masklab.model.transformer import Transformer
from masklab.rng import Stream


@dataclass(frozen=True, eq=False)
class MaskRatioCurve:
    """At `mask_ratio` (L,), the mean `cross_entropies` (L, N) in nats and `accuracies` (L, N) over the masked positions of each window."""

    mask_ratio: Floats
    cross_entropies: Floats
    accuracies: Floats

    @property
    def cross_entropy(self) -> Floats:
        """Means (L,) over the windows, in nats per masked character."""
        return np.asarray(self.cross_entropies.mean(axis=1))

    @property
    def cross_entropy_stderr(self) -> Floats:
        return _standard_errors(self.cross_entropies)

    @property
    def accuracy(self) -> Floats:
        """Shares (L,) of the masked positions where the most probable character is the true one."""
        return np.asarray(self.accuracies.mean(axis=1))

    @property
    def accuracy_stderr(self) -> Floats:
        return _standard_errors(self.accuracies)


def mask_ratio_curve(model: Transformer, windows: ScoredWindows, mask_ratio: Floats, seed: int, batch_size: int) -> MaskRatioCurve:
    """Score the same windows at each `mask_ratio` (L,), with exactly `max(1, round(r T))` masks; equal counts are scored once.

    The masks are nested: those of a lower ratio are among those of a higher one, which makes the curve smooth.
    """
    T = windows.block_size
    counts_L = np.unique(np.clip(np.rint(mask_ratio * T), 1, T).astype(np.int64))
    rank_NT = windows.streams(seed, Draws.CURVE).uniforms(Stream.MASK, T).argsort(axis=1, kind="stable")
    scores = [score_windows(model, windows, rank_NT < k, np.full(len(windows), k / T), batch_size) for k in counts_L]
    return MaskRatioCurve(
        counts_L / T,
        np.stack([s.cross_entropy_sum / s.count for s in scores]),
        np.stack([s.correct / s.count for s in scores]),
    )


def even_levels(count: int) -> Floats:
    """The ratios 1/L, 2/L .. 1 of L = `count` levels."""
    return np.arange(1, count + 1) / count


def _standard_errors(values_LN: Floats) -> Floats:
    return np.array([SequenceValues(values_N).estimate.stderr for values_N in values_LN])
