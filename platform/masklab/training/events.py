"""What the training loop tells the world: it yields these and never calls upward.

Adapters turn them into MLflow metrics, lines at a terminal or reports to Ray. Metric names are those of the MLflow UI, which
groups by everything before the last slash. The step axis is the iteration: the number of optimizer steps taken so far.
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
    """Strict negative evidence lower bound on held-out text, with the standard error of the estimate."""

    nats: float
    """Nats per character."""
    stderr: float
    """Nats per character."""
    bpc: float
    """Bits per character."""
    sequences: int
    """Masked sequences scored."""
    exact: bool = False
    """Whether it is the negative log-likelihood itself."""

    @property
    def name(self) -> str:
        """NELBO, or NLL where it is exact."""
        return "NLL" if self.exact else "NELBO"


@dataclass(frozen=True)
class Evaluation:
    """All pools scored once by all workers together."""

    stages: tuple[StageScore, ...]
    nelbo: Nelbo | None
    """None in a mode that gives no likelihood."""
    loss: float
    """Mean of the stages' losses, nats per masked character."""
    metrics: Mapping[str, float]
    """The mode's metrics over all pools, by name."""
    mask_ratio: float
    run_length: float
    """Mean length of the masked runs in the current stage's pool, in characters."""
    seconds: float
    confusion: tuple[tuple[int, ...], ...] = ()
    """How often each class (a row) was taken for each class (a column); empty in a mode that gives no text a class."""

    @property
    def yardstick(self) -> float | None:
        """What weights of one run are ranked by, in nats, low is good: the likelihood, else the loss. None where it is no number."""
        figure = self.nelbo.nats if self.nelbo else self.loss
        return figure if math.isfinite(figure) else None


@dataclass(frozen=True)
class RunStarted:
    """The loop is about to take its first step (or its first since a resume)."""

    iteration: int
    parameters: int
    flops_per_char: float
    """Training floating-point operations per character, forward and backward."""
    stage: int
    device: str
    resumed_from: Path | None
    trainable: int | None = None
    """Parameters that are trained; all when None."""
    transfer: TransferReport | None = None
    """What became of the weights that the run began with, before it was ever resumed."""
    lineage: tuple[Ancestor, ...] = ()
    """The checkpoint that the run began with, then those that it descends from."""
    set_aside: tuple[str, ...] = ()
    """Newer checkpoints than `resumed_from` that did not verify, each with what is wrong with it."""


@dataclass(frozen=True)
class Unfrozen:
    """From here on all weights are trained."""

    iteration: int
    parameters: int


@dataclass(frozen=True)
class StepDone:
    """A logged optimizer step; figures are means or rates over the steps since the last logged one."""

    iteration: int
    stage: int
    budget_used: float
    """Share of the whole budget spent, in [0, 1]."""
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
    """Share of the time that the loop waited for its next batch."""
    mfu: float | None
    """Model FLOPs utilisation, where the device's peak is known."""
    elapsed_seconds: float
    remaining_seconds: float
    skipped_steps: int = 0
    """Steps skipped since iteration 0, without those that float16's scaler skips."""
    overflows: int = 0
    """Steps that float16's scaler has skipped since iteration 0."""
    rollbacks: int = 0
    """Times that the run has gone back."""


@dataclass(frozen=True)
class StepSkipped:
    """Steps that left the weights as they were, seen at `iteration`."""

    iteration: int
    skip: Skip
    skipped_steps: int
    """All since iteration 0, with these."""


@dataclass(frozen=True)
class RolledBack:
    """The run has gone back to earlier weights, and to their `stage`, and goes on with the batch of `iteration`."""

    iteration: int
    stage: int
    rollback: Rollback
    number: int
    """How many times it has done so."""


@dataclass(frozen=True)
class EvaluationDone:
    """An evaluation and the decision it led to. `progress` is the state after the decision."""

    iteration: int
    stage: int
    """The stage that was being trained when the pools were scored."""
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
    """A checkpoint lies whole in the run folder."""

    iteration: int
    path: Path


@dataclass(frozen=True)
class RunFinished:
    """The budget is spent, or the curriculum has stopped the run. `evaluation` uses the large final pool."""

    iteration: int
    stage: int
    reason: str
    evaluation: Evaluation
    chars: int
    masked_chars: int
    train_seconds: float
    batches_digest: str
    """Hexadecimal sum of the hashes of all global batches: equal for runs that saw the same rows and masks."""
    sample: str
    first_step_at: float
    """Wall-clock time (seconds since the epoch) at which the first optimizer step of this process ended."""
    stability: SpikeState = field(default_factory=SpikeState)
    """The steps that were skipped and the times that the run went back, since iteration 0."""


@dataclass(frozen=True)
class RunStopped:
    """The run was asked to stop, and did so after a whole step. It is saved, and goes on from there."""

    iteration: int
    """That of the newest checkpoint."""
    reason: str


@dataclass(frozen=True)
class WorkersReplaced:
    """Workers were lost, or have become more or fewer, and the run goes on from its newest checkpoint."""

    iteration: int
    """That of the newest checkpoint; 0 where there is none."""
    workers: int
    """How many there are from here on."""
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
