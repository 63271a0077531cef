"""The yardstick: a strict negative evidence lower bound that curricula of every kind are compared by.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import numpy as np

from masklab.corruption.exact_count import ExactCount
from masklab.likelihood.estimate import Estimate, SequenceValues
from masklab.likelihood.scoring import score_windows
from masklab.likelihood.windows import Draws, ScoredWindows
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import SequenceScores


def exact_count_nelbo(model: Transformer, windows: ScoredWindows, seed: int, batch_size: int) -> SequenceValues:
    """The any-order bound of `model` on each of the windows (N,), whose counts k are stratified over all of them."""
    draw = ExactCount().draw(windows.streams(seed, Draws.EXACT_COUNT), windows.block_size)
    return mean_at_masks(score_windows(model, windows, draw.selected, draw.probability, batch_size))


def nelbo(scores: SequenceScores) -> Estimate:
    """Estimate the any-order bound, in nats per character, from sequences masked by exact count; see `mean_at_masks`."""
    return mean_at_masks(scores).estimate


def mean_at_masks(scores: SequenceScores) -> SequenceValues:
    """Values (N,) whose mean is the any-order bound, in nats per character, for sequences masked by exact count.

    Over a uniformly random order of generation, -log p(x) <= sum over k of the mean cross-entropy at the k positions still masked
    (Uria et al. 2014, "A deep and tractable density estimator"; Hoogeboom et al. 2022, "Autoregressive diffusion models"; Ou
    et al. 2024, for absorbing-state diffusion). With k ~ U{1..T} and a uniform k-subset masked, (1/k) times the sum of
    the k cross-entropies therefore has the bound divided by T as its mean.

    Raises ValueError if a sequence has nothing masked, since k = 0 is not part of the bound.
    """
    if not scores.count.all():
        raise ValueError(f"sequence {int(np.argmin(scores.count))} has no masked position, and an exact count is at least 1")
    return SequenceValues(scores.cross_entropy_sum / scores.count, scores.count)
