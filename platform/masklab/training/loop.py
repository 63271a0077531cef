"""The training loop. It knows nothing of Ray or MLflow: it yields events, and the caller logs them.

    restore the newest checkpoint, if any              -> RunStarted
    until the budget is spent or the curriculum stops:
        at the step that unfreezes all weights         -> Unfrozen
        take the batch (stage, step)                    a pure function of its key
        forward, backward, clip, step                   without waiting for the device
        every few steps: read which were skipped       -> StepSkipped
            roll back if too many were                 -> RolledBack
        every log_interval steps                       -> StepDone
        every eval_interval steps: score all pools,
            advance the curriculum                     -> EvaluationDone, StageAdvanced
        every checkpoint_interval steps: copy the state,
            which a thread writes                      -> CheckpointSaved, once it is committed
    score the final pools, save, sample                -> RunFinished
    or, if asked to stop, save after a whole step       -> RunStopped

Every rank runs this code and takes the same decisions; only rank 0 saves and samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from masklab.curriculum.progress import Decision
from masklab.failpoints import failpoint
from masklab.model.size import ParameterCount
from masklab.model.transformer import Transformer
from masklab.rng import root_key
from masklab.sampling.generation import sample
from masklab.training.accounting import Accounting, Position
from masklab.training.checkpoint.async_saver import AsyncSaver, Snapshot
from masklab.training.checkpoint.store import CheckpointStore, Recovery, recovered
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchSource
from masklab.training.data.validation_pools import Pools
from masklab.training.divergence_guard import DivergenceGuard
from masklab.training.evaluator import Evaluator
from masklab.training.events import Event, RunStarted, RunStopped, StageAdvanced, Unfrozen
from masklab.training.learner import Learner
from masklab.training.optimizer import learning_rate
from masklab.training.ranks import Agreement
from masklab.training.recipe import Worker
from masklab.training.step import Stepper
from masklab.training.stop import EvaluationStopped, StopRequest


class Loop:
    """One worker's part of a run. Checkpoints go to `store`, if there is one; `request` ends the run after the current step.

    Raises CheckpointError where the newest checkpoint does not fit the recipe.
    """

    def __init__(
        self,
        worker: Worker,
        pools: Pools,
        source: BatchSource,
        store: CheckpointStore | None = None,
        request: StopRequest | None = None,
    ) -> None:
        self.worker, self.source, self.store = worker, source, store
        self.recipe, self.ranks = worker.recipe, worker.ranks
        self.stop = Agreement(self.ranks, request or StopRequest())
        self.recovery = recovered(store, self.ranks) if store else Recovery(None)
        checkpoint = self.recovery.checkpoint
        self.learner = Learner(worker, source, checkpoint)
        self.position = Position.from_json(checkpoint.state) if checkpoint else Position(transfer=self.learner.transfer)
        if self.ranks.rank > 0:
            self.position.batches_digest = 0  # the saved one is the sum over all ranks; rank 0 continues it
        if checkpoint:
            failpoint("restore.read")
        self.accounting = Accounting(worker, self.position)
        self.evaluator = Evaluator(worker, pools, self.stop.request)
        self.guard = DivergenceGuard(worker, self.learner, store)
        self.saver = AsyncSaver(store) if store and self.ranks.rank == 0 else None
        self.first_step_at = 0.0

    @property
    def model(self) -> Transformer:
        return self.learner.model

    @property
    def stepper(self) -> Stepper:
        """Takes the optimizer steps; another one after weights are unfrozen or the run is rolled back."""
        return self.learner.stepper

    def run(self) -> Iterator[Event]:
        """Train to the end of the budget, or until asked to stop. When this ends, for whatever reason, no checkpoint is being written."""
        try:
            yield from self._run()
        finally:
            if self.saver:
                self.saver.close()

    def _run(self) -> Iterator[Event]:
        position, accounting = self.position, self.accounting
        accounting.start_clock()
        yield self._started()
        accounting.metrics.put_back(position.interval)
        self.saved_at = position.iteration
        try:
            if position.evaluation_due:
                yield from self._evaluate_and_save()
            while not position.progress.stopped and not accounting.budget.is_spent(position.iteration):
                if position.iteration == self.recipe.transfer.unfreeze_at_iter:
                    yield from self._unfreeze()
                self._step()
                yield from self._check()
                yield from self._log_interval()
                yield from self._committed()
                yield from self._evaluate_and_save()
                if self.stop.is_reached():
                    yield from self._stop()
                    return
            yield from self._finish()
        except EvaluationStopped:
            yield from self._stop()

    def _started(self) -> RunStarted:
        counts = ParameterCount.of(self.model)
        return RunStarted(
            self.position.iteration,
            counts.total,
            self.learner.flops_per_char,
            self.position.progress.stage,
            str(self.worker.precision.device),
            self.recovery.checkpoint.path if self.recovery.checkpoint else None,
            counts.trainable,
            self.position.transfer,
            self.recipe.transfer.lineage,
            self.recovery.set_aside,
        )

    def _unfreeze(self) -> Iterator[Event]:
        yield from self._check_weights()
        self.learner.unfreeze()
        self.position.stability = self.position.stability.restarted()
        failpoint("weights.unfrozen")
        yield Unfrozen(self.position.iteration, ParameterCount.of(self.model).trainable)

    def _step(self) -> None:
        failpoint("step.begun")
        position = self.position
        if self.recipe.model.dropout > 0:
            # dropout is a function of its key too, so that a resumed run draws the same masks
            torch.manual_seed(int(root_key(self.recipe.seed, position.iteration, self.ranks.rank)[0] >> 1))
        rate = learning_rate(self.recipe.training, position.iteration, self.accounting.budget_used)
        rate *= position.stability.lr_factor
        asked = time.perf_counter()
        batch = self.source.take(BatchKey(position.progress.stage, position.iteration))
        wait = time.perf_counter() - asked
        failpoint("step.batch")
        thaw = self.recipe.transfer.thaw(position.iteration)
        result = self.stepper.take(batch, rate, thaw, position.stability.limit)
        self.accounting.count(batch, result, rate, wait)
        failpoint("step.taken")

    def _check(self) -> Iterator[Event]:
        """Check the last steps every `rollback_after` steps, and the weights too before they are evaluated or saved."""
        iteration = self.position.iteration
        if self.guard.uses_weights(iteration):
            yield from self._check_weights()
        elif iteration % self.recipe.stability.rollback_after == 0:
            self.accounting.fetch()
            reason = yield from self.guard.check_steps(self.position)
            yield from self._roll_back(reason)

    def _check_weights(self) -> Iterator[Event]:
        self.accounting.fetch()
        reason = yield from self.guard.check_steps(self.position)
        yield from self._roll_back(self.guard.check_weights(self.position) or reason)

    def _roll_back(self, reason: str | None) -> Iterator[Event]:
        """Go back to the last good weights if there is a `reason`. Raises InstabilityError after `max_rollbacks`."""
        if not reason:
            return
        self.recipe.stability.check(self.position.stability, self.position.iteration, reason)
        yield from self._committed(wait=True)
        yield self.guard.roll_back(self.position, reason)
        yield from self._log()
        yield from self._save()

    def _log_interval(self) -> Iterator[Event]:
        """Log where this iteration calls for it: a resumed run logs the same intervals as one without the break."""
        iteration = self.position.iteration
        if self.first_step_at == 0.0:
            self.first_step_at = time.time()
            self.accounting.budget.agree_at_first_step(iteration)
        if iteration == 1 or iteration % self.recipe.training.log_interval == 0:
            yield from self._log()

    def _log(self) -> Iterator[Event]:
        done = self.accounting.log(self.learner.flops_per_char)
        if done:
            yield done

    def _evaluate_and_save(self) -> Iterator[Event]:
        settings, iteration = self.recipe.training, self.position.iteration
        is_sound = True
        if iteration % settings.eval_interval == 0:
            yield from self._evaluate()
            is_sound = self.position.yardstick is not None
        if iteration % settings.save_interval == 0:
            if is_sound:
                self.position.stability = self.position.stability.saved_at(iteration)
            yield from self._save()

    def _evaluate(self) -> Iterator[Event]:
        position = self.position
        yield from self._log()
        failpoint("evaluation.begun")
        position.evaluation_due = True
        done = self.accounting.decide(self.evaluator.evaluate(self.model, position.progress.stage))
        yield done
        if done.decision is Decision.NEXT_STAGE:
            position.stability = position.stability.restarted()
            failpoint("stage.advanced")
            yield StageAdvanced(position.iteration, done.stage, position.progress.stage, done.reason)
        self.accounting.metrics.restart()

    def _save(self) -> Iterator[Event]:
        """Begin a checkpoint on rank 0, once the previous one is committed. It logs nothing: a run that is stopped and resumed logs the
        same intervals as one that was not.
        """
        began = time.perf_counter()
        yield from self._committed(wait=True)
        failpoint("checkpoint.begun")
        now = self.accounting.saved_position()
        if self.saver:
            snapshot = Snapshot.of(now.iteration, self.model, self.stepper.state(), now.to_json())
            failpoint("checkpoint.copied")
            self.saver.begin(snapshot)
        self.saved_at = now.iteration
        yield from self._committed()
        self.accounting.metrics.leave_out(time.perf_counter() - began)

    def _committed(self, wait: bool = False) -> Iterator[Event]:
        """Report the checkpoint that was committed since it was begun. Raises CheckpointError if it could not be written."""
        saved = self.saver.collect(wait) if self.saver else None
        if saved:
            yield saved

    def _stop(self) -> Iterator[Event]:
        """Save unsaved steps; a later run resumes from them."""
        if self.saved_at != self.position.iteration or self.position.evaluation_due:
            yield from self._save()
        self.source.close()
        yield from self._committed(wait=True)
        yield RunStopped(self.position.iteration, self.stop.reason)

    def _finish(self) -> Iterator[Event]:
        """Score the final pools, save the steps since the last checkpoint, and write a sample."""
        position = self.position
        yield from self._check_weights()
        yield from self._log()
        failpoint("finish.begun")
        train_seconds = self.accounting.budget.agree(position.iteration)
        evaluation = self.evaluator.evaluate(self.model, position.progress.stage, final=True)
        failpoint("finish.scored")
        if self.saved_at != position.iteration or self.saved_at == 0:
            yield from self._save()
        self.source.close()
        text = ""
        if self.ranks.rank == 0 and self.recipe.mode.writes:
            text = sample(self.model, self.worker.vocabulary, self.recipe.training.block_size, self.recipe.sampling)[0]
            failpoint("finish.sampled")
        yield from self._committed(wait=True)
        failpoint("finish.saved")
        yield self.accounting.finished(evaluation, train_seconds, text, self.first_step_at)
