"""Estimated means with their standard errors, from one value for each sequence.

Shapes: N sequences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimated mean and its standard error, both in nats per character."""

    nats: float
    stderr: float

    @property
    def bits(self) -> float:
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean: the number of equally likely characters that are as hard to predict."""
        return math.exp(self.nats)


@dataclass(frozen=True, eq=False)
class SequenceValues:
    """`values` (N,) in nats per character, one for each sequence.

    `order_by` (N,) is the variable whose strata the sequences were drawn from, one to a stratum; None without strata.
    """

    values: Floats
    order_by: Floats | None = None

    @property
    def estimate(self) -> Estimate:
        """The mean and its standard error. Raises ValueError for fewer than two sequences."""
        return Estimate(float(self.values.mean()), standard_error(self.values, self.order_by))


def difference(a: SequenceValues, b: SequenceValues) -> Estimate:
    """The mean of `a - b` and its standard error, for two models scored on the same windows and masks.

    Common random numbers: the difficulty that a sequence has for both models cancels, so the error is smaller than that of two
    independent estimates (Glasserman and Yao 1992). Raises ValueError when the two were not scored on the same sequences.
    """
    if a.values.shape != b.values.shape:
        raise ValueError(f"{len(a.values)} sequences cannot be paired with {len(b.values)}; score both models on the same windows")
    if a.order_by is not None and b.order_by is not None and not np.array_equal(a.order_by, b.order_by):
        raise ValueError("the two were scored on different masks; use the same seed, number of sequences and estimator")
    return SequenceValues(a.values - b.values, b.order_by if a.order_by is None else a.order_by).estimate


def standard_error(values: Floats, order_by: Floats | None = None) -> float:
    """The standard error of the mean of `values` (N,), each drawn from its own stratum of the variable `order_by` (N,).

    A stratified mean varies only within the strata, and the plain sample variance would also count the differences between them.
    With one value to a stratum, no stratum has a variance of its own. But neighbours have nearly equal means, and half the squared
    difference of two neighbours has as its expectation the variance within a stratum plus half the squared difference of the two
    strata's means, which errs on the side of caution. So s^2 = sum (x_{i+1} - x_i)^2 / (2 (N - 1)) and SE = s / sqrt(N)
    (von Neumann 1941; Wolter 2007, "Introduction to variance estimation", section 8.2, estimator v2). Without strata s^2 is the
    sample variance.

    This is the error due to random masks and windows, for this text. Overlapping windows, which are common in a short split, are not
    independent samples of text, so the standard error says less about other texts than it seems to.

    Raises ValueError for fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 sequences, not {len(values)}")
    if order_by is None:
        return float(values.std(ddof=1)) / math.sqrt(len(values))
    differences = np.diff(values[np.argsort(order_by, kind="stable")])
    variance = float(np.square(differences).sum()) / (2 * len(differences))
    return math.sqrt(variance / len(values))
