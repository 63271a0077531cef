"""Two arms under the same seeds: their differences, seed by seed, and tests of whether the mean difference is zero.

Two runs under one seed share their first weights, their windows and the pools that score them, so that the effect of the seed on
both cancels in the difference. The rest varies between seeds, and only that is visible to a comparison: the pools are the same
under every seed, so the error of their masks is in no difference between seeds, and limits how far the result holds for other masks.

The verdicts use Student's paired test. The sign-flip test assumes less: that under the null hypothesis a difference is as likely as
its own negative. But flips of 5 signs have 32 outcomes: its least p is 2/32 = 0.0625, above 5 % before any correction. To reach 5 %
after Holm's correction over m pairs takes 2^(n-1) >= m / 0.05, 8 seeds for 5 pairs. It is reported as a check of Student's assumption.

Shapes: n seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]
RESOLUTION = 1e-9
"""Values that differ by less than this part of themselves, or of a thousandth, count as equal: the difference is rounding."""
MOST_FLIPPED = 36
"""Values up to which all sign flips are enumerated, as 2^18 sums of each half."""


@dataclass(frozen=True, eq=False)
class PairedDifference:
    """Final values `arm` (n,) and `baseline` (n,) under the same `seeds`, at least two of them."""

    seeds: tuple[int, ...]
    arm: Floats
    baseline: Floats

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def values(self) -> Floats:
        """Arm minus baseline (n,); where all are the same but for rounding, all are exactly the same."""
        difference = self.arm - self.baseline
        rounding = RESOLUTION * max(float(np.abs(self.arm).max()), float(np.abs(self.baseline).max()), 1e-3)
        difference = np.where(np.abs(difference) <= rounding, 0.0, difference)
        return np.full_like(difference, difference[0]) if np.ptp(difference) <= 2 * rounding else difference

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds; exactly 0 when all values are the same."""
        values = self.values
        return float(values.std(ddof=1)) if np.ptp(values) else 0.0

    @property
    def stderr(self) -> float:
        return self.deviation / math.sqrt(len(self))

    @property
    def percent(self) -> float | None:
        """The mean difference in percent of the baseline's mean; None for a baseline of 0."""
        whole = abs(float(self.baseline.mean()))
        return 100 * self.mean / whole if whole else None


def paired_t(values: Floats) -> float:
    """Two-sided p of Student's test that the mean of `values` (n,), n >= 2, is 0 (Student 1908).

    Without any spread between values there is no t: p is 1 when all are 0, and the sign-flip test's otherwise.
    """
    n = len(values)
    if np.ptp(values) == 0:
        return 1.0 if values[0] == 0 else 2.0 ** (1 - n)
    t = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(n))
    return float(2 * student.sf(t, n - 1))


def sign_flip(values: Floats) -> float | None:
    """Two-sided exact p that the mean of `values` (n,) is 0: the share of the 2^n sign flips with a sum at least as far from 0.

    Fisher 1935, "The design of experiments", section 21. None for more values than can be counted.
    """
    if len(values) > MOST_FLIPPED:
        return None
    half = len(values) // 2
    left, right = _flipped_sums(values[:half]), np.sort(_flipped_sums(values[half:]))
    # sums that are equal on paper differ by rounding
    bound = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    above = len(right) - np.searchsorted(right, bound - left, side="left")
    below = np.searchsorted(right, -bound - left, side="right")
    # where the bound is 0 a sum can lie on both sides of it
    return min(float((above + below).sum()) / 2.0 ** len(values), 1.0)


def _flipped_sums(values: Floats) -> Floats:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """The corrected p (m,) of m tests, in their order (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Calling significant what is corrected to alpha or less errs about any of the true nulls with probability alpha at most, however
    the tests depend on each other. Uniformly more powerful than Bonferroni's.
    """
    given = np.asarray(p, np.float64)
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    out = np.empty_like(given)
    out[order] = np.minimum(stepped, 1.0)
    return out
