"""The training loop. It knows nothing of Ray or MLflow: it yields events, and whoever runs it does the rest.

    restore the newest checkpoint, if any              -> RunStarted
    until the budget is spent or the curriculum stops:
        at the step that unfreezes all weights         -> Unfrozen
        take the batch (stage, step)                    a pure function of its key
        forward, backward, clip, step                   no waiting for the device
        every log_interval steps                       -> StepDone
        every eval_interval steps: score all pools,
            advance the curriculum                     -> EvaluationDone, StageAdvanced
            save                                       -> CheckpointSaved
    score the final pools, save, sample                -> RunFinished
    or, when asked to stop, save after a whole step     -> RunStopped

Every rank runs this same code and takes the same decisions; rank 0 saves and samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from masklab.curriculum.progress import Decision, Progress, StageLosses, advance
from masklab.model.freezing import Trainability, freeze, is_frozen, unfreeze
from masklab.model.size import flops_per_char
from masklab.model.transfer_report import TransferReport
from masklab.rng import root_key
from masklab.sampling.generation import sample
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.batch import BatchKey
from masklab.training.batch_maker import BatchSource
from masklab.training.budget import Budget
from masklab.training.calibration import calibrate
from masklab.training.checkpoint import CheckpointStore, load_weights
from masklab.training.evaluation import Evaluator
from masklab.training.events import (
    CheckpointSaved,
    EvaluationDone,
    Event,
    RunFinished,
    RunStarted,
    RunStopped,
    StageAdvanced,
    StepDone,
    Unfrozen,
)
from masklab.training.initial_weights import InitialWeights
from masklab.training.learning_rate import learning_rate
from masklab.training.meter import Meter
from masklab.training.pool import Pools
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.step import Stepper
from masklab.training.stop import Agreement, EvaluationStopped, StopRequest


@dataclass
class Position:
    """Where a run stands; with the weights and the optimizer, all that a resumed run needs."""

    iteration: int = 0
    progress: Progress = field(default_factory=Progress)
    chars: int = 0
    masked_chars: int = 0
    batches_digest: int = 0
    """Sum modulo 2**64 of the digests of all global batches so far."""
    elapsed_seconds: float = 0.0
    recent_plain_sum: float = 0.0
    """Plain cross-entropies since the last evaluation, nats, over `recent_masked` characters."""
    recent_masked: int = 0
    evaluation_due: bool = False
    """Whether the evaluation of this iteration was given up when the run was stopped."""
    transfer: TransferReport | None = None
    """What became of another run's weights, where it began with them: kept, so that it needs that run no more."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `state.json`."""
        transfer = self.transfer.to_json() if self.transfer else None
        return {**vars(self), "progress": self.progress.to_json(), "transfer": transfer}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Position:
        """The inverse of `to_json`."""
        transfer = TransferReport.from_json(state["transfer"]) if state.get("transfer") else None
        return cls(**{**state, "progress": Progress.from_json(state["progress"]), "transfer": transfer})


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
        self.model = recipe.mode.build(recipe.model, vocabulary, labels, recipe.seed).to(precision.device)
        self.position = Position()
        checkpoint = store.newest() if store else None
        if checkpoint:
            load_weights(self.model, checkpoint)
            self.position = Position.from_json(checkpoint.state)
            if self.ranks.rank > 0:
                self.position.batches_digest = 0  # the saved one is the sum over all ranks, and rank 0 carries it on
        elif recipe.transfer.source:
            weights = InitialWeights.read(recipe.transfer.source)
            self.position.transfer = weights.lay_over(self.model, recipe, vocabulary, labels)
        if not checkpoint:
            calibrate(self.model, recipe.mode, source, self.ranks, settings.rows_per_step)
        self.resumed_from: Path | None = checkpoint.path if checkpoint else None
        if recipe.system.compile:
            self.model.hidden = torch.compile(self.model.hidden)  # type: ignore[method-assign]
        if recipe.transfer.freezes(self.position.iteration):
            freeze(self.model)
        self.wrap = wrap
        self.stepper = Stepper.of(self.model, recipe, precision, self.ranks, wrap)
        if checkpoint:
            self.stepper.restore(checkpoint.optimizer())
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
        self.meter = Meter(self.ranks)
        self.first_step_at = 0.0
        outputs = self.model.output.out_features if self.model.output else vocabulary.size
        self.flops_per_char = flops_per_char(recipe.model, outputs, settings.block_size, recipe.mode.causal)

    def run(self) -> Iterator[Event]:
        """Train to the end of the budget, or until asked to stop."""
        settings, position = self.recipe.training, self.position
        self.budget = Budget(settings, self.ranks, position.elapsed_seconds, position.masked_chars)
        self.budget.agree(position.iteration)
        counts = Trainability.of(self.model)
        yield RunStarted(
            position.iteration,
            counts.total,
            self._flops_per_char(),
            position.progress.stage,
            str(self.precision.device),
            self.resumed_from,
            counts.trainable,
            position.transfer,
            self.recipe.transfer.lineage,
        )
        self.meter.restart()
        self.saved_at = position.iteration
        try:
            if position.evaluation_due:
                yield from self._at_interval()
            while not position.progress.stopped and not self.budget.is_spent(position.iteration):
                if position.iteration == self.recipe.transfer.unfreeze_at_iter:
                    yield self._unfreeze()
                self._step()
                if self.first_step_at == 0.0:
                    self.first_step_at = time.time()
                    yield self._log(paced=False)
                elif position.iteration % settings.log_interval == 0:
                    yield self._log()
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
        if iteration % settings.eval_interval == 0:
            yield from self._evaluate()
            if settings.checkpoint_interval is None:
                yield from self._save()
        if settings.checkpoint_interval and iteration % settings.checkpoint_interval == 0:
            yield from self._save()

    def _stopped(self) -> Iterator[Event]:
        """Save what is not saved yet; the run goes on from here."""
        if self.saved_at != self.position.iteration:
            yield from self._save()
        self.source.close()
        yield RunStopped(self.position.iteration, self.stop.reason)

    def _unfreeze(self) -> Unfrozen:
        """Train all weights from here on."""
        unfreeze(self.model)
        self.stepper = self.stepper.over_all(self.model, self.recipe, self.wrap)
        return Unfrozen(self.position.iteration, Trainability.of(self.model).trainable)

    def _flops_per_char(self) -> float:
        """Of a frozen network the forward third, beside which the backward pass of its head is little."""
        return self.flops_per_char / 3 if is_frozen(self.model) else self.flops_per_char

    def _step(self) -> None:
        position = self.position
        if self.recipe.model.dropout > 0:
            # dropout, too, is a function of its key, so a resumed run draws the same
            torch.manual_seed(int(root_key(self.recipe.seed, position.iteration, self.ranks.rank)[0] >> 1))
        rate = learning_rate(self.recipe.training, position.iteration, self.budget.used(position.iteration))
        asked = time.perf_counter()
        batch = self.source.take(BatchKey(position.progress.stage, position.iteration))
        wait = time.perf_counter() - asked
        self.meter.add(batch, self.stepper.take(batch, rate, self.recipe.transfer.thaw(position.iteration)), wait)
        self.budget.count(int(np.count_nonzero(batch.selected)))
        self.rate = rate
        position.iteration += 1
        position.batches_digest = (position.batches_digest + batch.digest) % 2**64

    def _log(self, paced: bool = True) -> StepDone:
        """Read the meter, count its characters, and agree on the time."""
        position, reading = self.position, self.meter.read()
        position.chars += reading.chars
        position.masked_chars += reading.masked
        position.recent_plain_sum += reading.plain_sum
        position.recent_masked += reading.masked
        self.budget.agree(position.iteration, paced)
        peak = self.precision.peak_flops()
        mfu = reading.chars_per_second * self._flops_per_char() / (peak * self.ranks.size) if peak else None
        return StepDone(
            iteration=position.iteration,
            stage=position.progress.stage,
            budget_used=self.budget.used(position.iteration),
            loss=reading.loss,
            learning_rate=self.rate,
            grad_norm=reading.grad_norm,
            mask_ratio=reading.mask_ratio,
            chars=position.chars,
            masked_chars=position.masked_chars,
            chars_per_second=reading.chars_per_second,
            data_wait_fraction=reading.data_wait_fraction,
            mfu=mfu,
            elapsed_seconds=self.budget.elapsed(),
            remaining_seconds=self.budget.remaining_seconds(position.iteration),
        )

    def _log_rest(self) -> Iterator[Event]:
        """Log the steps since the last logged one, if there are any."""
        if self.meter.steps:
            yield self._log()

    def _evaluate(self) -> Iterator[Event]:
        position, stage = self.position, self.position.progress.stage
        yield from self._log_rest()
        position.evaluation_due = True
        evaluation = self.evaluator.evaluate(self.model, stage)
        position.evaluation_due = False
        elapsed = self.budget.agree(position.iteration)
        used = self.budget.used(position.iteration)
        figures = StageLosses(position.iteration, tuple(s.loss for s in evaluation.stages), used)
        outcome = advance(position.progress, figures, self.recipe.curriculum)
        position.progress = outcome.progress
        plain_sum, masked = position.recent_plain_sum, position.recent_masked
        position.recent_plain_sum, position.recent_masked = 0.0, 0
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
            train_loss=plain_sum / max(masked, 1),
        )
        if outcome.decision is Decision.NEXT_STAGE:
            yield StageAdvanced(position.iteration, stage, position.progress.stage, outcome.reason)
        self.meter.restart()

    def _save(self) -> Iterator[Event]:
        """Save on rank 0."""
        position = self.position
        yield from self._log_rest()
        digest = self.ranks.total_modulo_2_64(position.batches_digest)
        if self.store and self.ranks.rank == 0:
            now = replace(position, elapsed_seconds=self.budget.elapsed(), batches_digest=digest)
            yield CheckpointSaved(position.iteration, self.store.save(position.iteration, self.model, self.stepper.state(), now.to_json()))
        self.saved_at = position.iteration
        self.meter.restart()

    def _finish(self) -> Iterator[Event]:
        """The final figures, a last checkpoint if steps were taken since the last one, and a sample."""
        position, settings = self.position, self.recipe.training
        yield from self._log_rest()
        train_seconds = self.budget.agree(position.iteration)
        evaluation = self.evaluator.evaluate(self.model, position.progress.stage, final=True)
        if self.saved_at != position.iteration or self.saved_at == 0:
            yield from self._save()
        self.source.close()
        text = ""
        if self.ranks.rank == 0 and self.recipe.mode.writes:
            text = sample(self.model, self.vocabulary, settings.block_size, self.recipe.sampling)[0]
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
        )
