"""The position of a run in its curriculum: a pure state machine, with no clock and no input or output.

Every rank calls `advance` on the same reduced losses and so takes the same decision.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Self

from masklab.curriculum.curriculum import Curriculum


class Decision(Enum):
    """What one evaluation decides."""

    IMPROVED = "improved"
    STALE = "stale"
    NEXT_STAGE = "next stage"
    FINISHED = "finished"


@dataclass(frozen=True)
class StageLosses:
    """The input of the state machine from one evaluation.

    `losses` are plain cross-entropies, one a validation stage, in nats per masked character. `budget_used` is the share of the
    run's whole budget spent so far, in [0, 1].
    """

    iteration: int
    losses: tuple[float, ...]
    budget_used: float = 0.0


@dataclass(frozen=True)
class Progress:
    """The stage a run is in and how it fares there; `best_loss` is the stage's best, infinite before its first evaluation."""

    stage: int = 0
    stale_evaluations: int = 0
    best_loss: float = math.inf
    stage_began_at_iteration: int = 0
    stage_began_at_budget: float = 0.0
    stopped: bool = False

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values; JSON has no infinity, so a missing best loss is `None`."""
        return asdict(self) | {"best_loss": None if math.isinf(self.best_loss) else self.best_loss}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        best = state["best_loss"]
        return cls(**(state | {"best_loss": math.inf if best is None else float(best)}))


@dataclass(frozen=True)
class Step:
    """The outcome of one evaluation: the new state, the decision, and its reason in words with the numbers."""

    progress: Progress
    decision: Decision
    reason: str


def watched_loss(evaluation: StageLosses, progress: Progress, curriculum: Curriculum) -> float:
    """The validation loss that must improve, in nats per character."""
    if curriculum.advance_on == "current_stage":
        return evaluation.losses[progress.stage]
    losses = evaluation.losses
    watched = losses if curriculum.advance_over is None else [losses[number] for number in curriculum.advance_over]
    return sum(watched) / len(watched)


def advance(progress: Progress, evaluation: StageLosses, curriculum: Curriculum) -> Step:
    """Move on by one evaluation.

    Improved means below the stage's best by more than `min_delta`. A stage ends at its patience, at its `max_iters` or at its
    `max_share` of the budget. A stage that begins starts with no stale evaluation and no best. The last stage goes on, unless
    `stop_when_stale` is set and its patience runs out.
    """
    loss = watched_loss(evaluation, progress, curriculum)
    stage, best = curriculum.stages[progress.stage], progress.best_loss
    is_last = progress.stage == len(curriculum.stages) - 1
    improved = loss < best - curriculum.min_delta_of(progress.stage)
    # a loss that is not finite compares false with everything, and so counts as stale
    if improved:
        now = replace(progress, best_loss=loss, stale_evaluations=0)
    else:
        now = replace(progress, stale_evaluations=progress.stale_evaluations + 1)

    patience = curriculum.patience_of(progress.stage)
    iterations = evaluation.iteration - progress.stage_began_at_iteration
    share = evaluation.budget_used - progress.stage_began_at_budget
    stale = now.stale_evaluations >= patience
    if stale:
        why = f"{now.stale_evaluations} evaluations in a row without improvement on {now.best_loss:.4f} (patience {patience})"
    elif stage.max_iters is not None and iterations >= stage.max_iters:
        why = f"{iterations} iterations in this stage (max_iters {stage.max_iters})"
    elif stage.max_share is not None and share >= stage.max_share - 1e-9:
        why = f"{share:.0%} of the budget in this stage (max_share {stage.max_share:g})"
    else:
        why = ""

    if why and not is_last:
        begun = Progress(progress.stage + 1, 0, math.inf, evaluation.iteration, evaluation.budget_used)
        return Step(begun, Decision.NEXT_STAGE, f"stage {progress.stage} ended: {why}")
    if stale and is_last and curriculum.stop_when_stale:
        return Step(replace(now, stopped=True), Decision.FINISHED, f"last stage ended: {why}")
    if improved:
        words = f"{loss:.4f}" if math.isinf(best) else f"{best:.4f} -> {loss:.4f}"
        return Step(now, Decision.IMPROVED, f"improved: {words}")
    return Step(now, Decision.STALE, f"{loss:.4f} is not below the best {now.best_loss:.4f} ({now.stale_evaluations} of {patience})")
