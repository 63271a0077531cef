"""The counts and metrics of a run on one worker: position, budget and step metrics in, events out."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from masklab.curriculum.progress import StageLosses, advance
from masklab.failpoints import failpoint
from masklab.training.budget import Budget
from masklab.training.data.batch import Batch
from masklab.training.events import Evaluation, EvaluationDone, RunFinished, StepDone
from masklab.training.position import Position
from masklab.training.step import StepResult
from masklab.training.step_metrics import StepMetrics
from masklab.training.worker import Worker


class Accounting:
    """Counts steps and evaluations in `position`. All ranks call each method at the same iteration, since most of them meet there."""

    def __init__(self, worker: Worker, position: Position) -> None:
        self.recipe, self.ranks, self.precision, self.position = worker.recipe, worker.ranks, worker.precision, position
        self.metrics = StepMetrics(worker.ranks)

    def start_clock(self) -> None:
        """Start or continue the budget's clock."""
        position = self.position
        masked = position.masked_chars if position.budget_masked is None else position.budget_masked
        self.budget = Budget(self.recipe.training, self.ranks, position.elapsed_seconds, masked, position.pace)
        self.budget.agree(position.iteration)

    @property
    def budget_used(self) -> float:
        """Share of the budget spent so far, in [0, 1]; the same on every rank."""
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
        """The event that ends the run, with its final `evaluation` and a sampled `text`."""
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
