"""Detects steps that diverge, and rolls the run back to good weights."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from masklab.training.accounting import Position
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.events import Event, RolledBack, StepSkipped
from masklab.training.learner import Learner
from masklab.training.loss_spikes import update
from masklab.training.recipe import Worker


@dataclass(frozen=True)
class DivergenceGuard:
    """One rank's guard. The metrics are the same on every rank, and so are the decisions."""

    worker: Worker
    learner: Learner
    store: CheckpointStore | None

    def uses_weights(self, iteration: int) -> bool:
        """Whether the weights are evaluated or saved at `iteration`: a function of the iteration alone, so that a resumed run checks
        them where an uninterrupted one does.
        """
        settings = self.worker.recipe.training
        return iteration % settings.eval_interval == 0 or iteration % settings.save_interval == 0

    def check_steps(self, position: Position) -> Generator[Event, None, str | None]:
        """Report the skipped steps among those observed. Returns the reason to roll back: too many skipped in a row, or, if the last
        step was skipped, weights that are not finite.
        """
        overflows = self.learner.stepper.scaler.is_enabled()
        updated = update(position.stability, self.worker.recipe.stability, overflows)
        position.stability = updated.state
        for skip in updated.skips:
            yield StepSkipped(position.iteration, skip, position.stability.skipped_steps)
        reason = self.check_weights(position) if position.stability.streak else None
        if updated.too_many:
            reason = reason or f"{updated.too_many.batches} changed no weight: {updated.too_many.words}"
        return reason

    def check_weights(self, position: Position) -> str | None:
        """The reason to roll back if a weight or a moment is not finite. Waits for the device."""
        if self.learner.stepper.is_finite():
            return None
        return f"a weight or one of its moments is not finite after step {position.iteration - 1}"

    def roll_back(self, position: Position, reason: str) -> RolledBack:
        """Load the weights of the last good checkpoint, or the initial ones, and continue with the next batches. All ranks meet here."""
        recipe = self.worker.recipe
        checkpoint = self._good_checkpoint(position.stability.good_at)
        self.learner.put(checkpoint)
        if self.learner.is_frozen and not recipe.transfer.freezes(position.iteration):
            self.learner.unfreeze()
        saved = Position.from_json(checkpoint.state) if checkpoint else Position()
        position.roll_back(saved, reason, recipe.stability.rollback_lr_factor)
        rollbacks = position.stability.rollbacks
        return RolledBack(position.iteration, position.progress.stage, rollbacks[-1], len(rollbacks))

    def _good_checkpoint(self, good_at: int | None) -> Checkpoint | None:
        """The checkpoint of `good_at`, or the newest if that is damaged, as rank 0 finds it; None for the initial weights."""
        found = -1
        if self.store and self.worker.ranks.rank == 0 and good_at is not None:
            checkpoint = self.store.at(good_at) or self.store.newest()
            found = checkpoint.iteration if checkpoint else -1
        found = round(self.worker.ranks.agree(found))
        return open_checkpoint(self.store.path_of(found)) if self.store and found >= 0 else None
