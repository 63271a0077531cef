"""A small made-up run for the tracking tests: two stages, four validation figures apart, and events in the loop's order."""

from __future__ import annotations

import math
from pathlib import Path

from masklab.curriculum.progress import Decision, Progress
from masklab.reporting.run.run_info import RunInfo, StageInfo
from masklab.training.events import (
    CheckpointSaved,
    Evaluation,
    EvaluationDone,
    Event,
    Nelbo,
    RunFinished,
    RunStarted,
    StageAdvanced,
    StageScore,
    StepDone,
)

STICKY = StageInfo("sticky 20 % (start 0.3, extend 0)", 0.2, (0.2, 0.2))
DIFFUSION = StageInfo("diffusion, linear", 0.5, (0.001, 1.0))
STARTED_AT = 1_000_000.0


def info(folder: Path = Path("/runs/story"), stages: tuple[StageInfo, ...] = (STICKY, DIFFUSION)) -> RunInfo:
    return RunInfo(
        name="story",
        folder=folder,
        curriculum="annealed",
        description="Sticky masks, then all ratios.",
        objective="cross-entropy, masked mean",
        stages=stages,
        validation=stages,
        mixed=tuple((s,) for s in range(len(stages))),
        vocabulary_size=65,
        started_at=STARTED_AT,
        eval_interval=100,
        browse="make ui",
    )


def started(iteration: int = 0, stage: int = 0, resumed_from: Path | None = None) -> RunStarted:
    return RunStarted(iteration, 803_456, 5e6, stage, "cpu", resumed_from)


def step(
    iteration: int, *, stage: int = 0, budget_used: float = 0.1, loss: float = 2.5, mask_ratio: float = 0.2, mfu: float | None = None
) -> StepDone:
    return StepDone(
        iteration=iteration,
        stage=stage,
        budget_used=budget_used,
        loss=loss,
        learning_rate=3e-3,
        grad_norm=0.7,
        mask_ratio=mask_ratio,
        chars=iteration * 2048,
        masked_chars=iteration * 410,
        chars_per_second=31_400.0,
        data_wait_fraction=0.002,
        mfu=mfu,
        elapsed_seconds=100 * budget_used,
        remaining_seconds=100 * (1 - budget_used),
    )


def evaluation(losses: tuple[float, ...] = (2.0, 2.5), model_vs_random: float = 8.0) -> Evaluation:
    mean = sum(losses) / len(losses)
    return Evaluation(
        stages=tuple(StageScore(loss, {"accuracy": 0.4, "true_probability": 0.3}) for loss in losses),
        nelbo=Nelbo(mean + 0.1, 0.01, (mean + 0.1) / math.log(2), 512),
        loss=mean,
        metrics={"accuracy": 0.41, "model_vs_random": model_vs_random},
        mask_ratio=0.21,
        run_length=1.25,
        seconds=0.5,
    )


def evaluated(
    iteration: int,
    losses: tuple[float, ...] = (2.0, 2.5),
    *,
    stage: int = 0,
    next_stage: int | None = None,
    budget_used: float = 0.1,
    train_loss: float = 2.0,
    model_vs_random: float = 8.0,
) -> EvaluationDone:
    moved = next_stage is not None
    progress = Progress(next_stage, 0, math.inf, iteration) if next_stage is not None else Progress(stage, 1, losses[stage])
    return EvaluationDone(
        iteration=iteration,
        stage=stage,
        budget_used=budget_used,
        elapsed_seconds=100 * budget_used,
        chars=iteration * 2048,
        masked_chars=iteration * 410,
        evaluation=evaluation(losses, model_vs_random),
        progress=progress,
        decision=Decision.NEXT_STAGE if moved else Decision.IMPROVED,
        reason=f"stage {stage} ended: 5 evaluations without improvement" if moved else f"improved: {losses[stage]:.4f}",
        train_loss=train_loss,
    )


def advanced(iteration: int) -> StageAdvanced:
    return StageAdvanced(iteration, 0, 1, "stage 0 ended: 5 evaluations without improvement")


def finished(
    iteration: int = 400,
    stage: int = 1,
    losses: tuple[float, ...] = (1.8, 2.2),
    sample: str = "Hark, [bold]who[/bold] goes",
    vs_random: float = 9.0,
) -> RunFinished:
    return RunFinished(
        iteration=iteration,
        stage=stage,
        reason="the budget is spent",
        evaluation=evaluation(losses, vs_random),
        chars=iteration * 2048,
        masked_chars=iteration * 600,
        train_seconds=187.0,
        batches_digest="00ff00ff00ff00ff",
        sample=sample,
        first_step_at=STARTED_AT + 12.5,
    )


def story(folder: Path = Path("/runs/story")) -> list[Event]:
    """A whole run of 400 iterations with a boundary at 200."""
    return [
        started(),
        step(1, budget_used=0.0025),
        step(100, budget_used=0.25),
        evaluated(100, (2.4, 3.0), budget_used=0.25),
        CheckpointSaved(100, folder / "checkpoints" / "100"),
        step(200, budget_used=0.5),
        evaluated(200, (2.0, 2.8), next_stage=1, budget_used=0.5),
        advanced(200),
        step(300, stage=1, budget_used=0.75, mask_ratio=0.5),
        evaluated(300, (1.9, 2.3), stage=1, budget_used=0.75),
        step(400, stage=1, budget_used=1.0, mask_ratio=0.5),
        evaluated(400, (1.95, 2.25), stage=1, budget_used=1.0),
        CheckpointSaved(400, folder / "checkpoints" / "400"),
        finished(),
    ]
