"""Noise schedules: the probability `1 - alpha_t` that a position is masked at time t, and its derivative.

Shapes: any; a schedule works element by element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
ScheduleName = Literal["linear", "cosine"]

LINEAR_FLOOR = 1e-3
COSINE_OFFSET = 0.008
COSINE_CEILING = 0.999


@dataclass(frozen=True)
class NoiseSchedule:
    """`value` is p(t) = 1 - alpha_t and `derivative` p'(t) = -alpha'_t, for t in [0, 1]."""

    value: Callable[[Times], Times]
    derivative: Callable[[Times], Times]


def _linear(t: Times) -> Times:
    return (1 - LINEAR_FLOOR) * t + LINEAR_FLOOR


def _linear_derivative(t: Times) -> Times:
    return np.full_like(t, 1 - LINEAR_FLOOR)


def _angle(t: Times) -> Times:
    return (t + COSINE_OFFSET) / (1 + COSINE_OFFSET) * (np.pi / 2)


def _unclipped_cosine(t: Times) -> Times:
    start = np.cos(_angle(np.zeros(1)))[0]
    # the difference of squares as a product: exactly 0 at t = 0, and never below
    a, b = _angle(t), _angle(np.zeros_like(t))
    return np.asarray(np.sin(a + b) * np.sin(a - b) / start**2)


def _cosine(t: Times) -> Times:
    return np.minimum(_unclipped_cosine(t), COSINE_CEILING)


def _cosine_derivative(t: Times) -> Times:
    start = np.cos(_angle(np.zeros(1)))[0]
    slope = np.sin(2 * _angle(t)) * (np.pi / 2) / (1 + COSINE_OFFSET) / start**2
    return np.where(_unclipped_cosine(t) < COSINE_CEILING, slope, 0.0)


SCHEDULES: dict[ScheduleName, NoiseSchedule] = {
    # LLaDA (Nie et al. 2025, algorithm 1): the floor keeps 1/p finite
    "linear": NoiseSchedule(_linear, _linear_derivative),
    # Nichol and Dhariwal 2021, eq. 17; past the ceiling p is constant and the derivative 0
    "cosine": NoiseSchedule(_cosine, _cosine_derivative),
}
