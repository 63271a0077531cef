"""An interval for a mean of few values: the smoothed, studentised bootstrap.

With 3 to 20 seeds the usual bootstraps fail. The percentile and BCa intervals cannot be wider than the values themselves: they hold
the true mean of 5 normal values in 84 % of cases, not 95 %. The studentised one (Efron and Tibshirani 1993, section 12.5) meets
resamples of one value over and over, whose standard error is 0: its interval for 3 values is infinite. A resample of kernel
estimates rather than of bare values (Silverman and Young 1987), with the standard error of the mean for the kernel's width
(Hesterberg 2015), has no such ties. For 3 values it is nearly Student's interval, and for many the bootstrap's, which follows the
values' own shape.

Coverage of the mean at the level 95 %, in 4,000 simulated tables each (its standard error is below 0.5 points), and Student's beside it:

    seeds                  3           5           10          20
    normal                 96.5 95.0   96.9 95.4   96.5 95.8   95.6 95.4
    exponential            91.1 88.8   90.8 88.6   92.1 90.2   93.2 91.5
    Student, 3 degrees     97.8 96.9   97.6 96.5   96.9 95.9   96.4 95.4
    one value in ten far   96.2 94.5   95.2 93.0   93.2 92.2   94.4 93.7

It is the symmetric interval, mean plus and minus one length: the differences of paired runs lean to no side, and the one that cuts
equal tails holds a heavy-tailed mean less often: 91.5 % of those of Student's 3 degrees at 20 seeds.

Shapes: n values, R resamples.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from masklab.rng import fold, keys_of, root_key, uniforms

Floats = NDArray[np.float64]
RESAMPLES = 9_999
KEY = 1_979
"""Under which the resamples are drawn: the same values always have the same interval."""


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The lower and upper end for the mean of `values` (n,), n >= 2; the mean itself where all values are one."""
    mean, deviation = values.mean(), values.std(ddof=1)
    if np.ptp(values) == 0:
        return float(mean), float(mean)
    length = critical((values - mean) / deviation, level) * deviation / np.sqrt(len(values))
    return float(mean - length), float(mean + length)


def critical(z: Floats, level: float) -> float:
    """Standard errors that the interval reaches to either side, for values `z` (n,) of mean 0 and deviation 1.

    The order of the values, and which arm is taken from which, make no difference.
    """
    n = len(z)
    z = np.sort(z if (z**3).sum() >= 0 else -z)
    chosen, noise = _resamples(n)
    drawn = z[chosen] + noise / np.sqrt(n)
    mean = drawn.sum(axis=0) / n
    variance = ((drawn - mean) ** 2).sum(axis=0) / (n - 1)
    rank = min(int(np.ceil(level * (RESAMPLES + 1))), RESAMPLES)
    return float(np.sqrt(np.partition(n * mean**2 / variance, rank - 1)[rank - 1]))


@lru_cache(maxsize=4)
def _resamples(n: int) -> tuple[NDArray[np.int64], Floats]:
    keys = keys_of(root_key(KEY, n), np.arange(RESAMPLES))
    chosen = np.ascontiguousarray((uniforms(fold(keys, 1), n) * n).astype(np.int64).T)
    # half a step of the uniforms, away from 0 and its infinite quantile
    return chosen, np.ascontiguousarray(ndtri(uniforms(fold(keys, 2), n) + 2.0**-54).T)
