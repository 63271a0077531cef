"""When each stage begins at the latest, before anything is trained."""

from __future__ import annotations

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.progress import Progress, StageLosses, advance


def timetable(curriculum: Curriculum, iterations: int, eval_interval: int) -> tuple[int | None, ...]:
    """The iteration at which each stage begins if every evaluation improves, so that only shares and iterations end a stage.

    A stage ends at an evaluation and at no other time: with 10 evaluations in a run a share of 0.25 lasts for 3 of them. None for
    a stage that a budget of `iterations` does not reach, in which case more evaluations, or other shares, are needed.
    """
    begins: list[int | None] = [0, *[None] * (len(curriculum.stages) - 1)]
    progress = Progress()
    for evaluation in range(1, -(-iterations // eval_interval)):
        iteration = evaluation * eval_interval
        losses = StageLosses(iteration, (-float(evaluation) * 1e9,) * len(curriculum.pools), iteration / iterations)
        progress = advance(progress, losses, curriculum).progress
        if begins[progress.stage] is None:
            begins[progress.stage] = iteration
    return tuple(begins)
