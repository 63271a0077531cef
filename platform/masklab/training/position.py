"""The position of a run, as `state.json` of its checkpoints keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from masklab.curriculum.progress import Progress
from masklab.model.transfer_report import TransferReport
from masklab.training.loss_spikes import Rollback, SpikeState


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
        """Plain values for `state.json`."""
        transfer = self.transfer.to_json() if self.transfer else None
        return {**vars(self), "progress": self.progress.to_json(), "stability": self.stability.to_json(), "transfer": transfer}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Position:
        """The inverse of `to_json`."""
        transfer = TransferReport.from_json(state["transfer"]) if state["transfer"] else None
        progress, stability = Progress.from_json(state["progress"]), SpikeState.from_json(state["stability"])
        return cls(**{**state, "progress": progress, "stability": stability, "transfer": transfer})

    def roll_back(self, saved: Position, reason: str, lr_factor: float) -> None:
        """Continue from the weights of `saved`, with its place in the curriculum. The iteration and all counts of what was spent stay."""
        rollback = Rollback(self.iteration, saved.iteration, reason, self.stability.lr_factor * lr_factor)
        self.progress, self.yardstick = saved.progress, saved.yardstick
        self.recent_plain_sum, self.recent_masked = saved.recent_plain_sum, saved.recent_masked
        self.stability = self.stability.rolled_back(saved.stability, rollback).saved_at(self.iteration)
