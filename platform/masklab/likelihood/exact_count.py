"""The yardstick: a strict negative evidence lower bound that curricula of every kind are compared by.

Shapes: N sequences, T positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.likelihood.scoring import SequenceScores


@dataclass(frozen=True)
class Estimate:
    """An estimated mean and its standard error, both in nats per character."""

    nats: float
    stderr: float

    @property
    def bits(self) -> float:
        """The mean in bits per character."""
        return self.nats / math.log(2)


def nelbo(scores: SequenceScores) -> Estimate:
    """Estimate the any-order bound, in nats per character, from sequences masked by exact count.

    Over a uniformly random order of generation, -log p(x) <= sum over k of the mean cross-entropy at the k positions still masked
    (Uria et al. 2014, "A deep and tractable density estimator"; Hoogeboom et al. 2022, "Autoregressive diffusion models"; Ou
    et al. 2024, for absorbing-state diffusion). With k ~ U{1..T} and a uniform k-subset masked, (1/k) times the sum of
    the k cross-entropies therefore has the bound divided by T as its mean: that, averaged over the sequences, is the estimate.

    Raises ValueError if a sequence has nothing masked, since k = 0 is not part of the bound, or if there are fewer than two.
    """
    if not scores.count.all():
        raise ValueError(f"sequence {int(np.argmin(scores.count))} has no masked position, and an exact count is at least 1")
    per_sequence = scores.cross_entropy_sum / scores.count
    return Estimate(float(per_sequence.mean()), standard_error(per_sequence, scores.count))


def standard_error(values: NDArray[np.float64], order_by: NDArray[np.float64]) -> float:
    """The standard error of the mean of `values` (N,), each drawn from its own stratum of the variable `order_by` (N,).

    A stratified mean varies only by what happens within the strata, and the plain sample variance would count the differences
    between them too. There is one value to a stratum, so none has a variance of its own; but neighbours have nearly equal means,
    and half the squared difference of two neighbours has the variance within a stratum as its mean, plus half the squared
    difference of the two strata's means, which errs on the side of caution. So s^2 = sum (x_{i+1} - x_i)^2 / (2 (N - 1)) and
    SE = s / sqrt(N) (von Neumann 1941; Wolter 2007, "Introduction to variance estimation", section 8.2, estimator v2).

    It is the error that random masks leave in the figure for this text. Windows that overlap, as many of them do in a short split, are
    not independent samples of text, so it says less than it seems about other texts.

    Raises ValueError for fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 sequences, not {len(values)}")
    differences = np.diff(values[np.argsort(order_by, kind="stable")])
    variance = float(np.square(differences).sum()) / (2 * len(differences))
    return math.sqrt(variance / len(values))
