"""The events that the training loop yields. Its callers turn them into MLflow metrics, terminal lines and reports.

The step axis is the iteration: the number of optimizer steps taken so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from masklab.curriculum.progress import Decision, Progress
from masklab.model.transfer_report import TransferReport
from masklab.training.loss_spikes import Rollback, Skip, SpikeState
from masklab.training.settings import Ancestor


@dataclass(frozen=True)
class StageScore:
    """One validation stage's pool, scored: plain cross-entropy in nats per masked character, dropout off."""

    loss: float
    metrics: Mapping[str, float]
    """The mode's other metrics of this pool, by name; see `Mode.metrics`."""


@dataclass(frozen=True)
class Nelbo:
    """Negative evidence lower bound on held-out text per character, with the standard error of the estimate."""

    nats: float
    stderr: float
    """In nats."""
    bpc: float
    """In bits."""
    sequences: int
    """Masked sequences scored."""
    exact: bool = False
    """Whether it is the negative log-likelihood itself, not a bound."""

    @property
    def name(self) -> str:
        return "NLL" if self.exact else "NELBO"


@dataclass(frozen=True)
class Evaluation:
    """All pools scored once by all workers together."""

    stages: tuple[StageScore, ...]
    nelbo: Nelbo | None
    """None in a mode without a likelihood."""
    loss: float
    """Mean of the stages' losses, nats per masked character."""
    metrics: Mapping[str, float]
    """The mode's metrics over all pools, by name."""
    mask_ratio: float
    run_length: float
    """Mean length of the masked runs in the current stage's pool, in characters."""
    seconds: float
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts of true class (row) and predicted class (column); empty in a mode without classes."""

    @property
    def yardstick(self) -> float | None:
        """Ranks the weights of one run, in nats, lower is better: the NELBO if there is one, else the loss. None if not finite."""
        value = self.nelbo.nats if self.nelbo else self.loss
        return value if math.isfinite(value) else None


@dataclass(frozen=True)
class RunStarted:
    """The loop is about to take its first step, or its first after a resume."""

    iteration: int
    parameters: int
    flops_per_char: float
    """Training FLOPs per character, forward and backward."""
    stage: int
    device: str
    resumed_from: Path | None
    trainable: int | None = None
    """Trained parameters; all if None."""
    transfer: TransferReport | None = None
    """How another run's weights were mapped when this run began."""
    lineage: tuple[Ancestor, ...] = ()
    """The checkpoint that the run began with, then its ancestors."""
    set_aside: tuple[str, ...] = ()
    """Checkpoints newer than `resumed_from` that did not verify, each with its flaw."""


@dataclass(frozen=True)
class Unfrozen:
    """All weights are trained from here on."""

    iteration: int
    parameters: int


@dataclass(frozen=True)
class StepDone:
    """A logged optimizer step; metrics are means or rates over the steps since the last logged one."""

    iteration: int
    stage: int
    budget_used: float
    """Share of the budget spent, in [0, 1]."""
    loss: float
    learning_rate: float
    grad_norm: float
    mask_ratio: float
    """Realised share of masked positions in the training batches."""
    chars: int
    """Characters seen since iteration 0, over all workers."""
    masked_chars: int
    chars_per_second: float
    data_wait_fraction: float
    """Share of the time spent waiting for batches."""
    mfu: float | None
    """Model FLOPs utilisation, if the device's peak is known."""
    elapsed_seconds: float
    remaining_seconds: float
    skipped_steps: int = 0
    """Steps skipped since iteration 0, without float16 overflows."""
    overflows: int = 0
    """Steps skipped by float16's loss scaler since iteration 0."""
    rollbacks: int = 0


@dataclass(frozen=True)
class StepSkipped:
    """Steps that did not change the weights, detected at `iteration`."""

    iteration: int
    skip: Skip
    skipped_steps: int
    """All since iteration 0, these included."""


@dataclass(frozen=True)
class RolledBack:
    """The run went back to earlier weights and their `stage`, and continues with the batch of `iteration`."""

    iteration: int
    stage: int
    rollback: Rollback
    number: int
    """Rollbacks so far, this one included."""


@dataclass(frozen=True)
class EvaluationDone:
    """An evaluation and the curriculum's decision. `progress` is the state after the decision."""

    iteration: int
    stage: int
    """The stage that was trained when the pools were scored."""
    budget_used: float
    elapsed_seconds: float
    chars: int
    """Characters seen since iteration 0, over all workers."""
    masked_chars: int
    evaluation: Evaluation
    progress: Progress
    decision: Decision
    reason: str
    train_loss: float


@dataclass(frozen=True)
class StageAdvanced:
    """A stage ended and the next began."""

    iteration: int
    ended: int
    begun: int
    reason: str


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is committed."""

    iteration: int
    path: Path


@dataclass(frozen=True)
class RunFinished:
    """The budget is spent, or the curriculum stopped the run. `evaluation` uses the large final NELBO pool."""

    iteration: int
    stage: int
    reason: str
    evaluation: Evaluation
    chars: int
    masked_chars: int
    train_seconds: float
    batches_digest: str
    """Hexadecimal sum of the hashes of all global batches: equal for runs with the same rows and masks."""
    sample: str
    first_step_at: float
    """End of this process's first optimizer step, seconds since the epoch."""
    stability: SpikeState = field(default_factory=SpikeState)
    """The skipped steps and the rollbacks since iteration 0."""


@dataclass(frozen=True)
class RunStopped:
    """The run was asked to stop and did so after a whole step. It is saved and can be resumed."""

    iteration: int
    """The newest checkpoint's."""
    reason: str


@dataclass(frozen=True)
class WorkersReplaced:
    """Workers were lost, added or removed, and the run continues from its newest checkpoint."""

    iteration: int
    """The newest checkpoint's; 0 if there is none."""
    workers: int
    """Their number from here on."""
    reason: str


Event = (
    RunStarted
    | Unfrozen
    | StepDone
    | StepSkipped
    | RolledBack
    | EvaluationDone
    | StageAdvanced
    | CheckpointSaved
    | RunStopped
    | WorkersReplaced
    | RunFinished
)
