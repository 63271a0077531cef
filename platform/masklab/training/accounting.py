"""The counts of a run on one worker: its position, as `state.json` of a checkpoint keeps it, and the events that report it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from masklab.curriculum.progress import Progress, StageLosses, advance
from masklab.failpoints import failpoint
from masklab.model.transfer_report import TransferReport
from masklab.training.budget import Budget
from masklab.training.data.batch import Batch
from masklab.training.events import Evaluation, EvaluationDone, RunFinished, StepDone
from masklab.training.loss_spikes import Rollback, SpikeState
from masklab.training.recipe import Worker
from masklab.training.step import StepResult
from masklab.training.step_metrics import StepMetrics


@dataclass
class Position:
    """With the weights and the optimizer's state, all that a resumed run needs."""

    iteration: int = 0
    progress: Progress = field(default_factory=Progress)
    chars: int = 0
    masked_chars: int = 0
    batches_digest: int = 0
    """Sum modulo 2**64 of the digests of all global batches so far."""
    elapsed_seconds: float = 0.0
    pace: float = 0.0
    """Seconds per step, as the budget measured it."""
    budget_masked: int | None = None
    """Masked characters that the budget has counted; None before the first checkpoint."""
    rate: float = 0.0
    """Learning rate of the last step."""
    interval: list[list[float]] = field(default_factory=list)
    """The metrics since the last logged step, one list per worker; see `StepMetrics.saved`."""
    recent_plain_sum: float = 0.0
    """Sum of unweighted cross-entropies since the last evaluation, nats, over `recent_masked` characters."""
    recent_masked: int = 0
    evaluation_due: bool = False
    """Whether the evaluation of this iteration was abandoned when the run was stopped."""
    yardstick: float | None = None
    """The yardstick of these weights, if they were evaluated: the best checkpoint is the one with the lowest."""
    stability: SpikeState = field(default_factory=SpikeState)
    """The skipped steps, the limit for the next losses, and the rollbacks."""
    transfer: TransferReport | None = None
    """How another run's weights were mapped, if the run began with them: kept here, since that run may be deleted."""

    def to_json(self) -> dict[str, Any]:
        transfer = self.transfer.to_json() if self.transfer else None
        return {**vars(self), "progress": self.progress.to_json(), "stability": self.stability.to_json(), "transfer": transfer}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Position:
        transfer = TransferReport.from_json(state["transfer"]) if state["transfer"] else None
        progress, stability = Progress.from_json(state["progress"]), SpikeState.from_json(state["stability"])
        return cls(**{**state, "progress": progress, "stability": stability, "transfer": transfer})

    def roll_back(self, saved: Position, reason: str, lr_factor: float) -> None:
        """Continue from the weights of `saved`, with its place in the curriculum. The iteration and the counts of the budget go on."""
        rollback = Rollback(self.iteration, saved.iteration, reason, self.stability.lr_factor * lr_factor)
        self.progress, self.yardstick = saved.progress, saved.yardstick
        self.recent_plain_sum, self.recent_masked = saved.recent_plain_sum, saved.recent_masked
        self.stability = self.stability.rolled_back(saved.stability, rollback).saved_at(self.iteration)


class Accounting:
    """Counts steps and evaluations in `position`. All ranks call each method at the same iteration, since most of them meet there."""

    def __init__(self, worker: Worker, position: Position) -> None:
        self.recipe, self.ranks, self.precision, self.position = worker.recipe, worker.ranks, worker.precision, position
        self.metrics = StepMetrics(worker.ranks)

    def start_clock(self) -> None:
        position = self.position
        masked = position.masked_chars if position.budget_masked is None else position.budget_masked
        self.budget = Budget(self.recipe.training, self.ranks, position.elapsed_seconds, masked, position.pace)
        self.budget.agree(position.iteration)

    @property
    def budget_used(self) -> float:
        return self.budget.used(self.position.iteration)

    def count(self, batch: Batch, result: StepResult, rate: float, wait: float) -> None:
        """Count one step at learning rate `rate`, which waited `wait` seconds for its batch. Does not wait for the device."""
        position = self.position
        self.metrics.add(batch, result, wait)
        self.budget.count(int(np.count_nonzero(batch.selected)))
        position.rate = rate
        position.iteration += 1
        position.batches_digest = (position.batches_digest + batch.digest) % 2**64
        position.yardstick = None

    def fetch(self) -> None:
        """Pass the outcomes of the last steps on to the spike detector. Waits for the device."""
        self.position.stability = self.position.stability.observe(self.metrics.fetch())

    def log(self, flops_per_char: float) -> StepDone | None:
        """End the log interval: count its characters and agree on the time. None where no step of it changed the weights."""
        if not self.metrics.steps:
            return None
        failpoint("log.begun")
        self.fetch()
        position, interval = self.position, self.metrics.read()
        position.chars += interval.chars
        position.masked_chars += interval.masked
        position.recent_plain_sum += interval.plain_sum
        position.recent_masked += interval.taken_masked
        self.budget.agree(position.iteration)
        failpoint("log.read")
        if math.isnan(interval.loss):
            return None
        peak = self.precision.peak_flops()
        return StepDone(
            iteration=position.iteration,
            stage=position.progress.stage,
            budget_used=self.budget_used,
            loss=interval.loss,
            learning_rate=position.rate,
            grad_norm=interval.grad_norm,
            mask_ratio=interval.mask_ratio,
            chars=position.chars,
            masked_chars=position.masked_chars,
            chars_per_second=interval.chars_per_second,
            data_wait_fraction=interval.data_wait_fraction,
            mfu=interval.chars_per_second * flops_per_char / (peak * self.ranks.size) if peak else None,
            elapsed_seconds=self.budget.elapsed(),
            remaining_seconds=self.budget.remaining_seconds(position.iteration),
            skipped_steps=position.stability.skipped_steps,
            overflows=position.stability.overflows,
            rollbacks=len(position.stability.rollbacks),
        )

    def decide(self, evaluation: Evaluation) -> EvaluationDone:
        """Let the curriculum decide on an evaluation; the position moves to the stage that it chooses."""
        position, stage = self.position, self.position.progress.stage
        position.evaluation_due, position.yardstick = False, evaluation.yardstick
        failpoint("evaluation.scored")
        elapsed = self.budget.agree(position.iteration)
        used = self.budget_used
        losses = StageLosses(position.iteration, tuple(s.loss for s in evaluation.stages), used)
        outcome = advance(position.progress, losses, self.recipe.curriculum)
        position.progress = outcome.progress
        plain_sum, masked = position.recent_plain_sum, position.recent_masked
        position.recent_plain_sum, position.recent_masked = 0.0, 0
        failpoint("evaluation.decided")
        return EvaluationDone(
            iteration=position.iteration,
            stage=stage,
            budget_used=used,
            elapsed_seconds=elapsed,
            chars=position.chars,
            masked_chars=position.masked_chars,
            evaluation=evaluation,
            progress=position.progress,
            decision=outcome.decision,
            reason=outcome.reason,
            train_loss=plain_sum / masked if masked else math.nan,
        )

    def saved_position(self) -> Position:
        """The position that a checkpoint keeps: with the clock, the log interval so far, and the digest over all ranks."""
        self.fetch()
        return replace(
            self.position,
            elapsed_seconds=self.budget.elapsed(),
            pace=self.budget.pace,
            budget_masked=self.budget.masked,
            interval=self.metrics.saved(),
            batches_digest=self.ranks.total_modulo_2_64(self.position.batches_digest),
        )

    def finished(self, evaluation: Evaluation, train_seconds: float, text: str, first_step_at: float) -> RunFinished:
        position = self.position
        return RunFinished(
            iteration=position.iteration,
            stage=position.progress.stage,
            reason="the last stage went stale" if position.progress.stopped else "the budget is spent",
            evaluation=evaluation,
            chars=position.chars,
            masked_chars=position.masked_chars,
            train_seconds=train_seconds,
            batches_digest=f"{self.ranks.total_modulo_2_64(position.batches_digest):016x}",
            sample=text,
            first_step_at=first_step_at,
            stability=position.stability,
        )
