"""When each stage begins at the latest and at the earliest, before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.progress import Progress, StageLosses, advance


def timetable(curriculum: Curriculum, iterations: int, eval_interval: int) -> tuple[int | None, ...]:
    """The iteration at which each stage begins if every evaluation improves, so that only shares and iterations end a stage.

    A stage ends at an evaluation and at no other time: with 10 evaluations in a run a share of 0.25 lasts for 3 of them. None for
    a stage that a budget of `iterations` does not reach, in which case more evaluations, or other shares, are needed.
    """
    return _begins(curriculum, iterations, eval_interval, lambda evaluation: -float(evaluation) * 1e9)


def unreachable(curriculum: Curriculum, iterations: int, eval_interval: int) -> tuple[int, ...]:
    """The stages that no run of `iterations` begins, even if no evaluation ever improves, so that patience ends each stage soonest."""
    begins = _begins(curriculum, iterations, eval_interval, lambda _: math.nan)
    return tuple(stage for stage, begun in enumerate(begins) if begun is None)


def _begins(curriculum: Curriculum, iterations: int, eval_interval: int, loss: Callable[[int], float]) -> tuple[int | None, ...]:
    """When each stage begins if evaluation number i has `loss(i)` on every pool. One at the end of the budget begins nothing."""
    begins: list[int | None] = [0, *[None] * (len(curriculum.stages) - 1)]
    progress = Progress()
    for evaluation in range(1, -(-iterations // eval_interval)):
        iteration = evaluation * eval_interval
        losses = StageLosses(iteration, (loss(evaluation),) * len(curriculum.pools), iteration / iterations)
        progress = advance(progress, losses, curriculum).progress
        if begins[progress.stage] is None:
            begins[progress.stage] = iteration
    return tuple(begins)
