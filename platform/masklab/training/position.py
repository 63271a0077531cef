"""Where a run stands, as its checkpoints keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from masklab.curriculum.progress import Progress
from masklab.model.transfer_report import TransferReport
from masklab.training.loss_spikes import Rollback, SpikeState


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
    pace: float = 0.0
    """Seconds a step, as the budget has it."""
    budget_masked: int | None = None
    """Masked characters that the budget has counted; None where they are `masked_chars`."""
    rate: float = 0.0
    """Learning rate of the last step."""
    interval: list[list[float]] = field(default_factory=list)
    """What the meter has added up since the last logged step, of each worker."""
    recent_plain_sum: float = 0.0
    """Plain cross-entropies since the last evaluation, nats, over `recent_masked` characters."""
    recent_masked: int = 0
    evaluation_due: bool = False
    """Whether the evaluation of this iteration was given up when the run was stopped."""
    yardstick: float | None = None
    """The yardstick's figure of these very weights, where they were evaluated: what the best checkpoint is chosen by."""
    stability: SpikeState = field(default_factory=SpikeState)
    """The steps that were skipped, what the next are held against, and the path taken so far."""
    transfer: TransferReport | None = None
    """What became of another run's weights, where it began with them: kept, so that it needs that run no more."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for `state.json`."""
        transfer = self.transfer.to_json() if self.transfer else None
        return {**vars(self), "progress": self.progress.to_json(), "stability": self.stability.to_json(), "transfer": transfer}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Position:
        """The inverse of `to_json`."""
        transfer = TransferReport.from_json(state["transfer"]) if state.get("transfer") else None
        known = state.get("stability")  # not in the checkpoints of earlier versions
        stability = SpikeState.from_json(known) if known else SpikeState(good_at=state["iteration"])
        return cls(**{**state, "progress": Progress.from_json(state["progress"]), "stability": stability, "transfer": transfer})

    def go_back(self, saved: Position, words: str, lr_factor: float) -> None:
        """Go on from the weights of `saved`, because of what `words` tell: with their place in the curriculum, and the next batches.

        The iteration goes on, and so does all that counts what was spent.
        """
        rollback = Rollback(self.iteration, saved.iteration, words, self.stability.lr_factor * lr_factor)
        self.progress, self.yardstick = saved.progress, saved.yardstick
        self.recent_plain_sum, self.recent_masked = saved.recent_plain_sum, saved.recent_masked
        self.stability = self.stability.back_at(saved.stability, rollback).saved_at(self.iteration)
