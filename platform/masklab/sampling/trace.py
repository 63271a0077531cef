"""The history of a generation: what the texts looked like after each step.

Shapes: B texts, T positions, S steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.sampling.canvas import Canvas


@dataclass(frozen=True)
class Snapshot:
    """The texts after a step, as `Canvas` has them; before the first one when `step` is 0.

    `tokens`, `placed_at` (B, T) int64, `confidence` (B, T) float64. `evaluations` (B,): passes through a network so far.
    """

    step: int
    tokens: NDArray[np.int64]
    placed_at: NDArray[np.int64]
    confidence: NDArray[np.float64]
    evaluations: NDArray[np.int64]

    @classmethod
    def of(cls, canvas: Canvas, step: int, evaluations: NDArray[np.int64]) -> Snapshot:
        """A copy of `canvas` as it is now."""
        return cls(step, canvas.tokens.copy(), canvas.placed_at.copy(), canvas.confidence.copy(), evaluations.copy())


@dataclass(frozen=True)
class Trace:
    """All the snapshots (S + 1) of a generation, that before the first step included. `given` (B, T) bool: the prompt."""

    given: NDArray[np.bool_]
    mask_id: int
    snapshots: tuple[Snapshot, ...]
