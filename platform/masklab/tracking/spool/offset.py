"""How much of a spool's file has come to MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from masklab.tracking.spool.record import RUN_ID, Metrics, Record, StatusChange


@dataclass(frozen=True)
class Entry:
    """A record, and the bytes of its file that hold it. Without a record it is a damaged line."""

    start: int
    end: int
    record: Record | None


class DeliveryState(BaseModel):
    """How much of a file has arrived: all before the byte `end`, but for the entries that begin at `behind`, which are tried again.

    `figures` and `others` count what has arrived; `gone` files that were no longer there to be sent, and damaged lines. `steps` are the
    last steps by metric, `status` the last one; `run_id` and `key` are those of the run that a declaration in the file has made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    end: int = Field(default=0, ge=0)
    behind: tuple[int, ...] = ()
    figures: int = 0
    others: int = 0
    gone: int = 0
    steps: dict[str, int] = {}
    status: str | None = None
    key: str | None = None
    run_id: str | None = Field(default=None, pattern=RUN_ID)
    experiment_id: str | None = None

    def after(self, entry: Entry, *, is_gone: bool = False) -> DeliveryState:
        """This, once `entry` has arrived, or is given up."""
        known = self._past(entry, behind=())
        match entry.record:
            case record if record is None or is_gone:
                return known._with(gone=known.gone + 1)
            case Metrics(step=step, values=values):
                return known._with(figures=known.figures + len(values), steps=known.steps | dict.fromkeys(values, step))
            case StatusChange(status=status):
                return known._with(others=known.others + 1, status=status)
        return known._with(others=known.others + 1)

    def put_off(self, entry: Entry) -> DeliveryState:
        """This, once `entry` has been put behind all others."""
        return self._past(entry, behind=(entry.start,))

    def made(self, entry: Entry, key: str, run_id: str, experiment_id: str) -> DeliveryState:
        """This, once the declaration `entry` has made a run."""
        return self.after(entry)._with(key=key, run_id=run_id, experiment_id=experiment_id)

    def _past(self, entry: Entry, behind: tuple[int, ...]) -> DeliveryState:
        others = tuple(start for start in self.behind if start != entry.start)
        return self._with(end=max(self.end, entry.end), behind=others + behind)

    def _with(self, **changes: Any) -> DeliveryState:
        return self.model_copy(update=changes)
