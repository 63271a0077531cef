"""The training loop. It knows nothing of Ray or MLflow: it yields events, and whoever runs it does the rest.

    restore the newest checkpoint, if any              -> RunStarted
    until the budget is spent or the curriculum stops:
        at the step that unfreezes all weights         -> Unfrozen
        take the batch (stage, step)                    a pure function of its key
        forward, backward, clip, step                   no waiting for the device
        every few steps: see which were skipped        -> StepSkipped
            go back where too many were                -> RolledBack
        every log_interval steps                       -> StepDone
        every eval_interval steps: score all pools,
            advance the curriculum                     -> EvaluationDone, StageAdvanced
            copy the state, to be saved beside          -> CheckpointSaved, once it is committed
    score the final pools, save, sample                -> RunFinished
    or, when asked to stop, save after a whole step     -> RunStopped

Every rank runs this same code and takes the same decisions; rank 0 saves and samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from masklab.curriculum.progress import Decision, StageLosses, advance
from masklab.failpoints import failpoint
from masklab.model.freezing import Trainability
from masklab.model.size import flops_per_char
from masklab.model.transformer import Transformer
from masklab.rng import root_key
from masklab.sampling.generation import sample
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.budget import Budget
from masklab.training.checkpoint.async_saver import AsyncSaver
from masklab.training.checkpoint.recovery import recovered
from masklab.training.checkpoint.snapshot import Snapshot
from masklab.training.checkpoint.store import CheckpointStore, Recovery
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchSource
from masklab.training.data.validation_pools import Pools
from masklab.training.divergence_guard import DivergenceGuard
from masklab.training.evaluator import Evaluator
from masklab.training.events import (
    EvaluationDone,
    Event,
    RunFinished,
    RunStarted,
    RunStopped,
    StageAdvanced,
    StepDone,
    Unfrozen,
)
from masklab.training.learner import Learner
from masklab.training.meter import StepMetrics
from masklab.training.optimizer import learning_rate
from masklab.training.position import Position
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.step import Stepper
from masklab.training.stop import Agreement, EvaluationStopped, StopRequest


class Loop:
    """One worker's part of a run. `wrap` prepares the module for several workers; `store` is where checkpoints go, or None.

    `request` ends the run after the step under way.
    """

    def __init__(
        self,
        recipe: Recipe,
        vocabulary: Vocabulary,
        pools: Pools,
        source: BatchSource,
        precision: Precision,
        ranks: Ranks | None = None,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
        store: CheckpointStore | None = None,
        labels: Labels | None = None,
        request: StopRequest | None = None,
    ) -> None:
        self.recipe, self.vocabulary, self.source, self.precision, self.store = recipe, vocabulary, source, precision, store
        self.ranks = ranks or Ranks()
        self.stop = Agreement(self.ranks, request or StopRequest())
        settings = recipe.training
        self.recovery = recovered(store, self.ranks) if store else Recovery(None)
        checkpoint = self.recovery.checkpoint
        self.learner = Learner(recipe, vocabulary, labels, source, precision, self.ranks, wrap, checkpoint)
        self.position = Position.from_json(checkpoint.state) if checkpoint else Position(transfer=self.learner.transfer)
        if self.ranks.rank > 0:
            self.position.batches_digest = 0  # the saved one is the sum over all ranks, and rank 0 carries it on
        if checkpoint:
            failpoint("restore.read")
        self.evaluator = Evaluator(
            mode=recipe.mode,
            pools=pools,
            vocabulary_size=vocabulary.size,
            batch_size=recipe.validation.batch_size or 4 * settings.batch_size,
            precision=precision,
            ranks=self.ranks,
            has_own_pools=recipe.curriculum.validation_stages is None,
            request=self.stop.request,
        )
        self.guard = DivergenceGuard(recipe, self.learner, store, self.ranks)
        self.meter = StepMetrics(self.ranks)
        self.saver = AsyncSaver(store) if store and self.ranks.rank == 0 else None
        self.first_step_at = 0.0
        outputs = self.model.output.out_features if self.model.output else vocabulary.size
        self.flops_per_char = flops_per_char(recipe.model, outputs, settings.block_size, recipe.mode.causal)

    @property
    def model(self) -> Transformer:
        """The network."""
        return self.learner.model

    @property
    def stepper(self) -> Stepper:
        """What takes its steps."""
        return self.learner.stepper

    def run(self) -> Iterator[Event]:
        """Train to the end of the budget, or until asked to stop. Nothing is under way any more when this ends, however it does."""
        try:
            yield from self._run()
        finally:
            if self.saver:
                self.saver.close()

    def _run(self) -> Iterator[Event]:
        settings, position = self.recipe.training, self.position
        masked = position.masked_chars if position.budget_masked is None else position.budget_masked
        self.budget = Budget(settings, self.ranks, position.elapsed_seconds, masked, position.pace)
        self.budget.agree(position.iteration)
        counts = Trainability.of(self.model)
        yield RunStarted(
            position.iteration,
            counts.total,
            self._flops_per_char(),
            position.progress.stage,
            str(self.precision.device),
            self.recovery.checkpoint.path if self.recovery.checkpoint else None,
            counts.trainable,
            position.transfer,
            self.recipe.transfer.lineage,
            self.recovery.set_aside,
        )
        self.meter.put_back(position.interval)
        self.saved_at = position.iteration
        try:
            if position.evaluation_due:
                yield from self._at_interval()
            while not position.progress.stopped and not self.budget.is_spent(position.iteration):
                if position.iteration == self.recipe.transfer.unfreeze_at_iter:
                    yield from self._unfreeze()
                self._step()
                if self.guard.is_due(position.iteration):
                    yield from self._settle(weights=self.guard.weights_count(position.iteration))
                is_first = self.first_step_at == 0.0
                self.first_step_at = self.first_step_at or time.time()
                # a resumed run logs at the steps, and over the steps, that it would have without the break
                if position.iteration == 1 or position.iteration % settings.log_interval == 0:
                    yield from self._log(paced=not is_first)
                elif is_first:
                    self.budget.agree(position.iteration, paced=False)
                yield from self._committed()
                yield from self._at_interval()
                if self.stop.is_reached():
                    yield from self._stopped()
                    return
            yield from self._finish()
        except EvaluationStopped:
            yield from self._stopped()

    def _at_interval(self) -> Iterator[Event]:
        """Evaluate and save where this iteration calls for it."""
        settings, iteration = self.recipe.training, self.position.iteration
        is_sound = True
        if iteration % settings.eval_interval == 0:
            yield from self._evaluate()
            is_sound = self.position.yardstick is not None
        if iteration % (settings.checkpoint_interval or settings.eval_interval) == 0:
            if is_sound:
                self.position.stability = self.position.stability.saved_at(iteration)
            yield from self._save()

    def _stopped(self) -> Iterator[Event]:
        """Save what is not saved yet; the run goes on from here."""
        if self.saved_at != self.position.iteration or self.position.evaluation_due:
            yield from self._save()
        self.source.close()
        yield from self._committed(wait=True)
        yield RunStopped(self.position.iteration, self.stop.reason)

    def _unfreeze(self) -> Iterator[Event]:
        """Train all weights from here on."""
        yield from self._settle()
        self.learner.unfreeze()
        self.position.stability = self.position.stability.restarted()
        failpoint("weights.unfrozen")
        yield Unfrozen(self.position.iteration, Trainability.of(self.model).trainable)

    def _flops_per_char(self) -> float:
        """Of a frozen network the forward third, beside which the backward pass of its head is little."""
        return self.flops_per_char / 3 if self.learner.is_frozen else self.flops_per_char

    def _step(self) -> None:
        failpoint("step.begun")
        position = self.position
        if self.recipe.model.dropout > 0:
            # dropout, too, is a function of its key, so a resumed run draws the same
            torch.manual_seed(int(root_key(self.recipe.seed, position.iteration, self.ranks.rank)[0] >> 1))
        rate = learning_rate(self.recipe.training, position.iteration, self.budget.used(position.iteration))
        rate *= position.stability.lr_factor
        asked = time.perf_counter()
        batch = self.source.take(BatchKey(position.progress.stage, position.iteration))
        wait = time.perf_counter() - asked
        failpoint("step.batch")
        thaw = self.recipe.transfer.thaw(position.iteration)
        self.meter.add(batch, self.stepper.take(batch, rate, thaw, position.stability.limit), wait)
        self.budget.count(int(np.count_nonzero(batch.selected)))
        position.rate = rate
        position.iteration += 1
        position.batches_digest = (position.batches_digest + batch.digest) % 2**64
        position.yardstick = None
        failpoint("step.taken")

    def _settle(self, weights: bool = True) -> Iterator[Event]:
        """Tell of the steps that were skipped, and go back to good weights where too many were."""
        self._fetch()
        why = yield from self.guard.settle(self.position, weights)
        if why:
            yield from self._committed(wait=True)
            yield self.guard.go_back(self.position, why)
            yield from self._log()
            yield from self._save()

    def _fetch(self) -> None:
        self.position.stability = self.position.stability.told(self.meter.fetch())

    def _log(self, paced: bool = True) -> Iterator[Event]:
        """Read the meter where there is something in it, count its characters, and agree on the time.

        Where all steps were skipped there is nothing to show.
        """
        if not self.meter.steps:
            return
        failpoint("log.begun")
        self._fetch()
        position, reading = self.position, self.meter.read()
        position.chars += reading.chars
        position.masked_chars += reading.masked
        position.recent_plain_sum += reading.plain_sum
        position.recent_masked += reading.taken_masked
        self.budget.agree(position.iteration, paced)
        failpoint("log.read")
        peak = self.precision.peak_flops()
        mfu = reading.chars_per_second * self._flops_per_char() / (peak * self.ranks.size) if peak else None
        if math.isnan(reading.loss):
            return
        yield StepDone(
            iteration=position.iteration,
            stage=position.progress.stage,
            budget_used=self.budget.used(position.iteration),
            loss=reading.loss,
            learning_rate=position.rate,
            grad_norm=reading.grad_norm,
            mask_ratio=reading.mask_ratio,
            chars=position.chars,
            masked_chars=position.masked_chars,
            chars_per_second=reading.chars_per_second,
            data_wait_fraction=reading.data_wait_fraction,
            mfu=mfu,
            elapsed_seconds=self.budget.elapsed(),
            remaining_seconds=self.budget.remaining_seconds(position.iteration),
            skipped_steps=position.stability.skipped_steps,
            overflows=position.stability.overflows,
            rollbacks=len(position.stability.rollbacks),
        )

    def _evaluate(self) -> Iterator[Event]:
        position, stage = self.position, self.position.progress.stage
        yield from self._log()
        failpoint("evaluation.begun")
        position.evaluation_due = True
        evaluation = self.evaluator.evaluate(self.model, stage)
        position.evaluation_due, position.yardstick = False, evaluation.yardstick
        failpoint("evaluation.scored")
        elapsed = self.budget.agree(position.iteration)
        used = self.budget.used(position.iteration)
        figures = StageLosses(position.iteration, tuple(s.loss for s in evaluation.stages), used)
        outcome = advance(position.progress, figures, self.recipe.curriculum)
        position.progress = outcome.progress
        plain_sum, masked = position.recent_plain_sum, position.recent_masked
        position.recent_plain_sum, position.recent_masked = 0.0, 0
        failpoint("evaluation.decided")
        yield EvaluationDone(
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
        if outcome.decision is Decision.NEXT_STAGE:
            position.stability = position.stability.restarted()
            failpoint("stage.advanced")
            yield StageAdvanced(position.iteration, stage, position.progress.stage, outcome.reason)
        self.meter.restart()

    def _save(self) -> Iterator[Event]:
        """Begin a checkpoint on rank 0, once the one before is committed. It logs nothing: a run that is stopped goes on logging where
        an uninterrupted one does.
        """
        began = time.perf_counter()
        yield from self._committed(wait=True)
        failpoint("checkpoint.begun")
        self._fetch()
        now = replace(
            self.position,
            elapsed_seconds=self.budget.elapsed(),
            pace=self.budget.pace,
            budget_masked=self.budget.masked,
            interval=self.meter.saved(),
            batches_digest=self.ranks.total_modulo_2_64(self.position.batches_digest),
        )
        if self.saver:
            snapshot = Snapshot.of(now.iteration, self.model, self.stepper.state(), now.to_json())
            failpoint("checkpoint.copied")
            self.saver.begin(snapshot)
        self.saved_at = now.iteration
        yield from self._committed()
        self.meter.leave_out(time.perf_counter() - began)

    def _committed(self, wait: bool = False) -> Iterator[Event]:
        """Tell of the checkpoint that has been committed since it was begun. Raises CheckpointError where it could not be written."""
        saved = self.saver.collect(wait) if self.saver else None
        if saved:
            yield saved

    def _finish(self) -> Iterator[Event]:
        """The final figures, a last checkpoint if steps were taken since the last one, and a sample."""
        position, settings = self.position, self.recipe.training
        yield from self._settle()
        yield from self._log()
        failpoint("finish.begun")
        train_seconds = self.budget.agree(position.iteration)
        evaluation = self.evaluator.evaluate(self.model, position.progress.stage, final=True)
        failpoint("finish.scored")
        if self.saved_at != position.iteration or self.saved_at == 0:
            yield from self._save()
        self.source.close()
        text = ""
        if self.ranks.rank == 0 and self.recipe.mode.writes:
            text = sample(self.model, self.vocabulary, settings.block_size, self.recipe.sampling)[0]
            failpoint("finish.sampled")
        yield from self._committed(wait=True)
        failpoint("finish.saved")
        yield RunFinished(
            iteration=position.iteration,
            stage=position.progress.stage,
            reason="the last stage went stale" if position.progress.stopped else "the budget is spent",
            evaluation=evaluation,
            chars=position.chars,
            masked_chars=position.masked_chars,
            train_seconds=train_seconds,
            batches_digest=f"{self.ranks.total_modulo_2_64(position.batches_digest):016x}",
            sample=text,
            first_step_at=self.first_step_at,
            stability=position.stability,
        )
