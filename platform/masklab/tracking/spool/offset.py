"""The committed offset of a spool file: which of its records MLflow has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from masklab.tracking.spool.record import RUN_ID, Metrics, Record, StatusChange


@dataclass(frozen=True)
class Entry:
    """A record and its bytes [start, end) in the file. `record` is None for a damaged line."""

    start: int
    end: int
    record: Record | None


class DeliveryState(BaseModel):
    """MLflow has each record before the byte `committed`, except those that start at `retry_offsets`, which are tried again.

    The names in the file are the aliases: they are part of the format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    committed: int = Field(default=0, ge=0, alias="end")
    retry_offsets: tuple[int, ...] = Field(default=(), alias="behind")
    metric_values: int = Field(default=0, alias="figures")
    """Metric values delivered."""
    others: int = 0
    """Other records delivered."""
    gone: int = 0
    """Damaged lines, and files that no longer existed."""
    steps: dict[str, int] = {}
    """The last delivered step of each metric."""
    status: str | None = None
    """The last delivered status."""
    key: str | None = None
    run_id: str | None = Field(default=None, pattern=RUN_ID)
    """The run that a CreateRun record in this file has created."""
    experiment_id: str | None = None

    def acked(self, entry: Entry, *, is_gone: bool = False) -> DeliveryState:
        """The state once `entry` is delivered, or can never be."""
        state = self._past(entry, retry=())
        match entry.record:
            case record if record is None or is_gone:
                return state._with(gone=state.gone + 1)
            case Metrics(step=step, values=values):
                return state._with(metric_values=state.metric_values + len(values), steps=state.steps | dict.fromkeys(values, step))
            case StatusChange(status=status):
                return state._with(others=state.others + 1, status=status)
        return state._with(others=state.others + 1)

    def deferred(self, entry: Entry) -> DeliveryState:
        """The state once `entry` is to be tried again after all others."""
        return self._past(entry, retry=(entry.start,))

    def created(self, entry: Entry, key: str, run_id: str, experiment_id: str) -> DeliveryState:
        """The state once `entry` has created a run."""
        return self.acked(entry)._with(key=key, run_id=run_id, experiment_id=experiment_id)

    def _past(self, entry: Entry, retry: tuple[int, ...]) -> DeliveryState:
        others = tuple(start for start in self.retry_offsets if start != entry.start)
        return self._with(committed=max(self.committed, entry.end), retry_offsets=others + retry)

    def _with(self, **changes: Any) -> DeliveryState:
        return self.model_copy(update=changes)
