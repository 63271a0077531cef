"""The history of a run: evaluations, stage boundaries, skipped steps and rollbacks, kept in its folder for a resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from masklab.io.json_record import JsonRecord, Number, Record
from masklab.training.events import EvaluationDone, Event, RolledBack, RunStarted, StageAdvanced, StepSkipped


class EvaluationRecord(Record):
    """One evaluation. Losses in nats per masked character, NELBO in nats per character, times in seconds."""

    iteration: int
    stage: int
    train_loss: Number
    loss: Number
    stage_losses: tuple[Number, ...]
    nelbo_nats: Number
    chars: int
    masked_chars: int
    elapsed_seconds: Number


class Boundary(Record):
    """The end of one stage and the beginning of the next."""

    iteration: int
    ended: int
    begun: int
    reason: str


class SkipRecord(Record):
    """Consecutive skipped steps, detected at `iteration`; `first` and `last` are the steps of their batches."""

    iteration: int
    stage: int
    first: int
    last: int
    reason: str


class RollbackRecord(Record):
    """The run returned to the weights of iteration `to` and continued with the batch of `iteration`."""

    iteration: int
    to: int
    reason: str
    lr_factor: float


class History(JsonRecord):
    """The evaluations, stage boundaries, skipped steps and rollbacks of a run, in order."""

    FILE: ClassVar[str] = "history.json"
    REMEDY: ClassVar[str] = "remove it to resume the run without its earlier evaluations"

    evaluations: tuple[EvaluationRecord, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    skips: tuple[SkipRecord, ...] = ()
    rollbacks: tuple[RollbackRecord, ...] = ()

    def after(self, event: Event) -> History:
        """The history with `event` added. A run that resumes at an iteration drops what came after it."""
        if isinstance(event, RunStarted):
            return self.until(event.iteration)
        if isinstance(event, EvaluationDone):
            return self.model_copy(update={"evaluations": (*self.evaluations, _record_of(event))})
        if isinstance(event, StageAdvanced):
            boundary = Boundary(iteration=event.iteration, ended=event.ended, begun=event.begun, reason=event.reason)
            return self.model_copy(update={"boundaries": (*self.boundaries, boundary)})
        if isinstance(event, StepSkipped):
            skip = event.skip
            record = SkipRecord(iteration=event.iteration, stage=skip.stage, first=skip.first, last=skip.last, reason=skip.words)
            return self.model_copy(update={"skips": (*self.skips, record)})
        return self._back(event) if isinstance(event, RolledBack) else self

    def _back(self, event: RolledBack) -> History:
        """Drops the boundaries after the weights that the run returns to: those stages begin again."""
        back = event.rollback
        record = RollbackRecord(iteration=back.iteration, to=back.to, reason=back.words, lr_factor=back.lr_factor)
        boundaries = tuple(b for b in self.boundaries if b.iteration <= back.to)
        return self.model_copy(update={"boundaries": boundaries, "rollbacks": (*self.rollbacks, record)})

    def until(self, iteration: int) -> History:
        """The part up to `iteration`."""
        return self.model_copy(
            update={
                "evaluations": tuple(e for e in self.evaluations if e.iteration <= iteration),
                "boundaries": tuple(b for b in self.boundaries if b.iteration <= iteration),
                "skips": tuple(s for s in self.skips if s.iteration <= iteration),
                "rollbacks": tuple(r for r in self.rollbacks if r.iteration <= iteration),
            }
        )

    def best(self, metric: Callable[[EvaluationRecord], float | None]) -> tuple[float, int] | None:
        """The lowest value of a metric and its iteration; None if no evaluation has it."""
        seen = [(value, e.iteration) for e in self.evaluations if (value := metric(e)) is not None]
        return min(seen, default=None)

    def to_text(self) -> str:
        return self.model_dump_json(indent=1)

    @classmethod
    def read(cls, folder: Path) -> History:
        """The history in `folder`, empty if there is none. Raises RunError if the file is damaged."""
        return super().read(folder) if (folder / cls.FILE).exists() else cls()


def _record_of(event: EvaluationDone) -> EvaluationRecord:
    return EvaluationRecord(
        iteration=event.iteration,
        stage=event.stage,
        train_loss=event.train_loss,
        loss=event.evaluation.loss,
        stage_losses=tuple(score.loss for score in event.evaluation.stages),
        nelbo_nats=event.evaluation.nelbo.nats if event.evaluation.nelbo else None,
        chars=event.chars,
        masked_chars=event.masked_chars,
        elapsed_seconds=event.elapsed_seconds,
    )
