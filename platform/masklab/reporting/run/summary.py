"""The summary of a finished run, `summary.json`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from masklab.errors import RunError
from masklab.io.json_record import JsonRecord, Number, Record
from masklab.model.transfer_report import TransferReport
from masklab.reporting.run.diagnostics import RunWarning
from masklab.reporting.run.history import History, RollbackRecord, SkipRecord
from masklab.reporting.run.run_info import RunInfo
from masklab.training.events import Nelbo, RunFinished, RunStarted
from masklab.training.loss_spikes import SpikeState


class PoolSummary(Record):
    """One validation stage. `best_*` come from the evaluations' pools, `final_*` from the large final pool."""

    title: str
    best_loss: Number
    best_iteration: int | None
    final_loss: Number
    final_metrics: dict[str, Number] = Field(alias="final_figures")
    """The mode's other metrics on the pool, by name."""


class StageSummary(Record):
    """One training stage: when it ran and why it ended. `began_at` is None if it was never reached."""

    title: str
    expected_ratio: Number
    began_at: int | None
    ended_at: int | None
    reason: str


class NelboSummary(Record):
    """Strict NELBO on held-out text, or the exact negative log-likelihood, with one standard error."""

    nats: Number
    stderr: Number
    bpc: Number
    sequences: int
    exact: bool
    """Whether it is the negative log-likelihood itself."""
    best_nats: Number
    best_iteration: int | None

    @property
    def name(self) -> str:
        """NELBO, or NLL where it is exact."""
        return "NLL" if self.exact else "NELBO"

    @classmethod
    def of(cls, nelbo: Nelbo, best: tuple[float, int] | None) -> NelboSummary:
        """From the final evaluation, and the best of the evaluations with its iteration."""
        nats, iteration = best or (None, None)
        return cls(best_nats=nats, best_iteration=iteration, **vars(nelbo))


class TransferSummary(Record):
    """Which weights were loaded from a checkpoint, new or left out, each with its number of parameters."""

    loaded: dict[str, int]
    new: dict[str, int]
    left: dict[str, int]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, report: TransferReport) -> TransferSummary:
        parts = {name: {part.what: part.parameters for part in getattr(report, name)} for name in ("loaded", "new", "left")}
        return cls(**parts, notes=report.notes)


class StabilitySummary(Record):
    """Skipped steps and rollbacks of a run: with its configuration, all that is needed to repeat it."""

    skipped_steps: int
    overflows: int
    """Steps that float16's scaler has skipped; they are not among the others."""
    skips: tuple[SkipRecord, ...]
    rollbacks: tuple[RollbackRecord, ...]

    @classmethod
    def of(cls, stability: SpikeState, history: History) -> StabilitySummary | None:
        """None where no step was skipped."""
        if not (stability.skipped_steps or stability.overflows or stability.rollbacks):
            return None
        return cls(skipped_steps=stability.skipped_steps, overflows=stability.overflows, skips=history.skips, rollbacks=history.rollbacks)


class RunSummary(JsonRecord):
    """A finished run. Losses in nats per masked character, NELBO in nats and bits per character, times in seconds."""

    FILE: ClassVar[str] = "summary.json"
    REMEDY: ClassVar[str] = "remove it to finish the run again"

    name: str
    folder: str
    curriculum: str
    description: str
    mode: str
    objective: str
    finished_because: str
    iterations: int
    chars: int
    masked_chars: int
    parameters: int
    flops_per_char: Number
    device: str
    train_seconds: Number
    seconds_to_first_step: Number
    """From the command to the end of its first optimizer step; None when it found its budget spent already."""
    batches_digest: str
    """Equal for runs that saw the same rows and masks."""
    checkpoint: str | None
    loss: Number
    metrics: dict[str, Number] = Field(alias="figures")
    """The mode's metrics over all pools, by name."""
    nelbo: NelboSummary | None
    """None in a mode that gives no likelihood."""
    stages: tuple[StageSummary, ...]
    validation: tuple[PoolSummary, ...]
    warnings: tuple[str, ...] = Field(alias="troubles")
    sample: str
    browse: str | None
    trainable_parameters: int | None = None
    """Those trained as the run started, or was resumed; all when None."""
    transfer: TransferSummary | None = None
    """None where the first weights were drawn."""
    lineage: tuple[dict[str, str | int | None], ...] = ()
    """The checkpoint that the run began with, then those that it descends from, back to the first."""
    stability: StabilitySummary | None = None
    """None where no step was skipped."""

    @classmethod
    def of(
        cls,
        info: RunInfo,
        started: RunStarted,
        history: History,
        finished: RunFinished,
        *,
        warnings: tuple[RunWarning, ...] = (),
        checkpoint: Path | None = None,
    ) -> RunSummary:
        final = finished.evaluation
        best = history.best(lambda record: record.nelbo_nats)
        waited = finished.first_step_at - info.started_at
        return cls(
            name=info.name,
            folder=str(info.folder),
            curriculum=info.curriculum,
            description=info.description,
            mode=info.mode,
            objective=info.objective,
            finished_because=finished.reason,
            iterations=finished.iteration,
            chars=finished.chars,
            masked_chars=finished.masked_chars,
            parameters=started.parameters,
            flops_per_char=started.flops_per_char,
            device=started.device,
            train_seconds=finished.train_seconds,
            seconds_to_first_step=waited if waited > 0 else None,
            batches_digest=finished.batches_digest,
            checkpoint=str(checkpoint) if checkpoint else None,
            loss=final.loss,
            metrics=dict(final.metrics),
            nelbo=NelboSummary.of(final.nelbo, best) if final.nelbo else None,
            stages=_stages(info, history, finished),
            validation=_pools(info, history, finished),
            warnings=tuple(warning.words for warning in warnings),
            sample=finished.sample,
            browse=info.browse,
            trainable_parameters=started.trainable,
            transfer=TransferSummary.of(started.transfer) if started.transfer else None,
            lineage=tuple(ancestor.model_dump() for ancestor in started.lineage),
            stability=StabilitySummary.of(finished.stability, history),
        )

    @property
    def yardstick(self) -> NelboSummary:
        """The NELBO. Raises RunError in a mode without a likelihood."""
        if self.nelbo is None:
            raise RunError(f"run '{self.name}' has no NELBO: {self.mode} gives no likelihood")
        return self.nelbo

    def to_text(self) -> str:
        return self.model_dump_json(indent=2) + "\n"


def _stages(info: RunInfo, history: History, finished: RunFinished) -> tuple[StageSummary, ...]:
    began: dict[int, int] = {0: 0} | {b.begun: b.iteration for b in history.boundaries}
    ended = {b.ended: b for b in history.boundaries}
    rows = []
    for i, stage in enumerate(info.stages):
        boundary = ended.get(i)
        if boundary is not None:
            end, reason = boundary.iteration, boundary.reason.removeprefix(f"stage {i} ended: ")
        elif i == finished.stage:
            no_step = 0 < began.get(i, 0) == finished.iteration
            end, reason = finished.iteration, "it began as the run ended: no iterations" if no_step else finished.reason
        else:
            end, reason = None, "never reached" if i > finished.stage else ""
        rows.append(
            StageSummary(title=stage.title, expected_ratio=stage.expected_ratio, began_at=began.get(i), ended_at=end, reason=reason)
        )
    return tuple(rows)


def _pools(info: RunInfo, history: History, finished: RunFinished) -> tuple[PoolSummary, ...]:
    rows = []
    for i, (stage, score) in enumerate(zip(info.validation, finished.evaluation.stages, strict=True)):
        best = history.best(lambda record, i=i: record.stage_losses[i])  # type: ignore[misc]
        rows.append(
            PoolSummary(
                title=stage.title,
                best_loss=best[0] if best else None,
                best_iteration=best[1] if best else None,
                final_loss=score.loss,
                final_metrics=dict(score.metrics),
            )
        )
    return tuple(rows)
