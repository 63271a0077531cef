"""What is told of predicted labels: accuracy, macro F1 and the confusion matrix of classes, RMSE and R squared of numbers.

Shapes: N labels, O classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64] | NDArray[np.int64]


def confusion(true_N: NDArray[np.integer], predicted_N: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """How often each true class (a row) was taken for each class (a column): (O, O)."""
    pairs = true_N.astype(np.int64) * classes + predicted_N.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def macro_f1(hits_O: Counts, predicted_O: Counts, true_O: Counts) -> float:
    """Mean over classes of F1 = 2 hits / (predicted + true), from the counts of each class; one that never occurs is left out."""
    seen = predicted_O + true_O
    occurs = seen > 0
    return float(np.mean(2 * hits_O[occurs] / seen[occurs]))


def class_counts(true_N: NDArray[np.integer], predicted_N: NDArray[np.integer]) -> tuple[Counts, Counts, Counts]:
    """How often each class was predicted rightly, predicted, and true: (O,) each, up to the last class that occurs."""
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
