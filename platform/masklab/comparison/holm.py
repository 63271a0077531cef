"""Holm's step-down correction for several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


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
