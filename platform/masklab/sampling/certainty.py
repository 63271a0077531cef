"""How certain a network is of a character, on the scale of a log-probability, and rounded so that equals are equal.

Shapes: M positions, V characters. `log_probability` (M, V) is that of the network itself, at temperature 1 and before truncation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DECIMALS = 4
"""Digits that mean something. In a wholly masked text every position has the same distribution, but for rounding errors of about 1e-6
in the network's float32, and these would choose the order, differently on each device."""


def of_drawn(log_probability_MV: NDArray[np.float64], drawn_M: NDArray[np.int64]) -> NDArray[np.float64]:
    """(M,): log-probability of the `drawn` (M,) characters."""
    return _rounded(np.take_along_axis(log_probability_MV, drawn_M[:, None], axis=1)[:, 0])


def of_likeliest(log_probability_MV: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,): log-probability of the most probable character."""
    return _rounded(log_probability_MV.max(axis=1))


def margin(log_probability_MV: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,): log of the difference of the two largest probabilities, finite where they are equal too."""
    probability_MV = np.exp(log_probability_MV)
    second = max(probability_MV.shape[1] - 2, 0)
    top_M2 = np.partition(probability_MV, second, axis=1)[:, second:]
    # a vocabulary of one character has no runner-up
    difference_M = top_M2[:, -1] - top_M2[:, :-1].sum(axis=1)
    log_M: NDArray[np.float64] = np.log(np.maximum(_rounded(difference_M), 10.0**-DECIMALS))
    return log_M


def negative_entropy(log_probability_MV: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,): minus the entropy in nats, the log-probability that a drawn character can be expected to have."""
    # 0 log 0 = 0
    finite_MV = np.where(np.isneginf(log_probability_MV), 0.0, log_probability_MV)
    return _rounded((np.exp(log_probability_MV) * finite_MV).sum(axis=1))


def _rounded(values_M: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded_M: NDArray[np.float64] = values_M.round(DECIMALS)
    return rounded_M
