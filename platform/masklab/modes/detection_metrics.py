"""What is told of a detector: how well it tells two classes apart, and whether its probabilities are right.

Shapes: N positions; `positive` (N,) bool is the class that is looked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 15

Numbers = NDArray[np.float64]
Truth = NDArray[np.bool_]


def log_loss(log_odds: Numbers, positive: Truth) -> float:
    """Mean cross-entropy in nats: log(1 + exp(-z)) of a positive one with log odds z, log(1 + exp(z)) of any other."""
    return float(np.logaddexp(0.0, np.where(positive, -log_odds, log_odds)).mean())


def constant_loss(positive: Truth) -> float:
    """The mean cross-entropy in nats of the best constant: the entropy of the share of positive ones."""
    share = float(positive.mean())
    return -sum(p * float(np.log(p)) for p in (share, 1 - share) if p > 0)


def balanced_accuracy(predicted: Truth, positive: Truth) -> float:
    """Mean over the classes of the share that is recognised: 0.5 for any constant; over the one class where there is only one."""
    right = predicted == positive
    return float(np.mean([right[part].mean() for part in (positive, ~positive) if part.any()]))


def auroc(score: Numbers, positive: Truth) -> float:
    """The chance that a positive one scores above one that is not, ties by half (Mann, Whitney 1947); 0.5 where there is one class."""
    n_positive = int(positive.sum())
    n_other = len(positive) - n_positive
    if not n_positive or not n_other:
        return 0.5
    _, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(mean_rank[group][positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_other)


def calibration_error(probability: Numbers, positive: Truth) -> float:
    """Expected calibration error: |mean probability - share of positive ones| over 15 equal bins, by count (Guo et al. 2017, eq. 3)."""
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    said = np.bincount(bins, weights=probability, minlength=BINS)
    seen = np.bincount(bins, weights=positive.astype(np.float64), minlength=BINS)
    return float(np.abs(said - seen).sum() / len(positive))
