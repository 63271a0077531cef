"""Watches the steps of a run, and takes it back to good weights where too many in a row were skipped."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from masklab.training.checkpoint.store import Checkpoint, CheckpointStore, open_checkpoint
from masklab.training.events import Event, RolledBack, StepSkipped
from masklab.training.learner import Learner
from masklab.training.loss_spikes import settle
from masklab.training.position import Position
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe


@dataclass(frozen=True)
class DivergenceGuard:
    """One rank's part of it. The figures are the same on every rank, and so is what is done about them."""

    recipe: Recipe
    learner: Learner
    store: CheckpointStore | None
    ranks: Ranks

    def is_due(self, iteration: int) -> bool:
        """Whether to look here at what became of the last steps: a function of the iteration alone, so that a resumed run looks where
        an uninterrupted one does.
        """
        return iteration % self.recipe.stability.rollback_after == 0 or self.weights_count(iteration)

    def weights_count(self, iteration: int) -> bool:
        """Whether the weights are evaluated or saved here."""
        settings = self.recipe.training
        return iteration % settings.eval_interval == 0 or iteration % (settings.checkpoint_interval or settings.eval_interval) == 0

    def settle(self, position: Position, weights: bool) -> Generator[Event, None, str | None]:
        """Tell of the steps that were skipped, out of those that `position` has been told. Returns why the run must go back, if it must.

        The `weights` are looked at if asked for, and where the last step was skipped. Waits for the device. Raises InstabilityError
        where the run has gone back as often as it may.
        """
        settled = settle(position.stability, self.recipe.stability, overflows=self.learner.stepper.scaler.is_enabled())
        position.stability = settled.state
        for skip in settled.skips:
            yield StepSkipped(position.iteration, skip, position.stability.skipped_steps)
        if (weights or settled.state.streak) and not self.learner.stepper.is_finite():
            why = f"a weight or one of its moments is not finite after step {position.iteration - 1}"
        elif settled.too_many:
            why = f"{settled.too_many.batches} changed no weight: {settled.too_many.words}"
        else:
            return None
        self.recipe.stability.check(position.stability, position.iteration, why)
        return why

    def go_back(self, position: Position, why: str) -> RolledBack:
        """Go on with the next batches from the weights of the last good checkpoint, or from the first ones. All ranks meet here."""
        checkpoint = self._good_checkpoint(position.stability.good_at)
        self.learner.put(checkpoint)
        if self.learner.is_frozen and not self.recipe.transfer.freezes(position.iteration):
            self.learner.unfreeze()
        saved = Position.from_json(checkpoint.state) if checkpoint else Position()
        position.go_back(saved, why, self.recipe.stability.rollback_lr_factor)
        rollbacks = position.stability.rollbacks
        return RolledBack(position.iteration, position.progress.stage, rollbacks[-1], len(rollbacks))

    def _good_checkpoint(self, good_at: int | None) -> Checkpoint | None:
        """The checkpoint of `good_at`, or the newest where that is damaged, as rank 0 finds it; None for the first weights."""
        found = -1
        if self.store and self.ranks.rank == 0 and good_at is not None:
            checkpoint = self.store.at(good_at) or self.store.newest()
            found = checkpoint.iteration if checkpoint else -1
        found = round(self.ranks.agree(found))
        return open_checkpoint(self.store.path_of(found)) if self.store and found >= 0 else None
