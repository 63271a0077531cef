"""What a stage teaches, and what is forgotten in it: how the loss of every pool changes while each stage is trained.

Shapes: S stages trained, P pools scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PoolLosses:
    """One evaluation: the `losses` of all pools, nats per masked character, None where there is no finite one.

    `stage` is the one that was trained until then, `chars` all characters seen so far.
    """

    iteration: int
    chars: int
    stage: int
    losses: tuple[float | None, ...]


@dataclass(frozen=True)
class Dwell:
    """How long a stage was trained."""

    iterations: int
    chars: int
    evaluations: int


@dataclass(frozen=True, eq=False)
class StageMatrix:
    """`change` (S, P): the loss of a pool at the end of a stage minus that at its beginning, nan where one of the two is missing.

    The beginning is the last evaluation before the stage. A first stage has none: unless the untrained model was scored, what it
    taught until its first evaluation is not in the matrix.
    """

    change: NDArray[np.float64]
    dwell: tuple[Dwell, ...]


def stage_matrix(evaluations: Sequence[PoolLosses], stages: int) -> StageMatrix:
    """The matrix of a run with `stages` stages from its evaluations in order, of which there is at least one."""
    losses = np.array([[np.nan if x is None else x for x in evaluation.losses] for evaluation in evaluations])
    trained = np.array([evaluation.stage for evaluation in evaluations])
    assert (np.diff(trained) >= 0).all(), "stages only rise"
    change, dwell = np.full((stages, losses.shape[1]), np.nan), []
    for stage in range(stages):
        own = np.flatnonzero(trained == stage)
        if not len(own):
            dwell.append(Dwell(0, 0, 0))
            continue
        first, last = int(own[0]), int(own[-1])
        if last > 0:
            change[stage] = losses[last] - losses[max(first - 1, 0)]
        before = evaluations[first - 1] if first else PoolLosses(0, 0, 0, ())
        end = evaluations[last]
        dwell.append(Dwell(end.iteration - before.iteration, end.chars - before.chars, len(own)))
    return StageMatrix(change, tuple(dwell))
