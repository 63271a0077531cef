"""The grid of a reverse process: how much is still masked after each step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.noise_schedule import NoiseSchedule


def masked_shares(schedule: NoiseSchedule, steps: int) -> NDArray[np.float64]:
    """`1 - alpha_t` at t = 1, 1 - 1/steps, ..., 0: (steps + 1,), stretched so that it runs from exactly 1 to exactly 0.

    A schedule may stop short of either end, to keep weights finite in training; generation starts from a text that is wholly masked
    and leaves nothing masked. For the linear schedule the shares are t itself, whatever its floor.
    """
    ends = schedule.value(np.array([1.0, 0.0]))
    shares = (schedule.value(np.linspace(1, 0, steps + 1)) - ends[1]) / (ends[0] - ends[1])
    shares[0], shares[-1] = 1.0, 0.0
    return np.asarray(np.clip(shares, 0.0, 1.0))
