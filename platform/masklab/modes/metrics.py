"""Metrics of classifiers: of a binary detector, of several classes, and of a predicted number.

Shapes: N positions or labels, O classes; `positive` (N,) bool marks the positions of the class to be detected.
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
    """Mean recall over the classes that occur: 0.5 for a constant prediction where both do."""
    right = predicted == positive
    return float(np.mean([right[part].mean() for part in (positive, ~positive) if part.any()]))


def auroc(score: Numbers, positive: Truth) -> float:
    """Probability that a positive scores above a negative, ties by half (Mann, Whitney 1947); 0.5 where there is only one class."""
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


Counts = NDArray[np.float64] | NDArray[np.int64]


def confusion(true_N: NDArray[np.integer], predicted_N: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Counts (O, O) of each true class (row) and predicted class (column)."""
    pairs = true_N.astype(np.int64) * classes + predicted_N.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def macro_f1(hits_O: Counts, predicted_O: Counts, true_O: Counts) -> float:
    """Mean over classes of F1 = 2 hits / (predicted + true), from the counts of each class; one that never occurs is left out."""
    seen = predicted_O + true_O
    occurs = seen > 0
    return float(np.mean(2 * hits_O[occurs] / seen[occurs]))


def class_counts(true_N: NDArray[np.integer], predicted_N: NDArray[np.integer]) -> tuple[Counts, Counts, Counts]:
    """Counts (O,) of correct predictions, predictions, and true labels of each class, up to the last class that occurs."""
    O = 1 + int(max(true_N.max(), predicted_N.max()))  # noqa: E741
    hits_N = true_N[true_N == predicted_N]
    return np.bincount(hits_N, minlength=O), np.bincount(predicted_N, minlength=O), np.bincount(true_N, minlength=O)


def rmse(true_N: NDArray[np.floating], predicted_N: NDArray[np.floating]) -> float:
    """Root of the mean squared error, in the unit of the labels."""
    return float(np.sqrt(np.mean((predicted_N - true_N.astype(np.float64)) ** 2)))


def r_squared(true_N: NDArray[np.floating], predicted_N: NDArray[np.floating]) -> float:
    """Share of the labels' variance that the predictions explain: 1 - SSE / SST; 0 where the labels are all the same."""
    true_N = true_N.astype(np.float64)  # squares of large 32-bit numbers are beyond their range
    total = float(((true_N - true_N.mean()) ** 2).sum())
    return 1.0 - float(((predicted_N - true_N) ** 2).sum()) / total if total else 0.0
