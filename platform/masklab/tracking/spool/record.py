"""The formats of a spool: its records, and the committed offset: which of them MLflow has.

Both are validated when they are read, because a run's folder can come from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from masklab.tracking.provenance import DatasetInput

RUN_ID = r"^[0-9a-f]{32}$"
"""The form of an MLflow run id, and of a run's key."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    at: int
    """The time of the event in milliseconds since 1970. MLflow stores this time, however late the record is sent."""


class CreateRun(_Record):
    """Create the run, unless a run with its `key` exists. `parent_key` is the key of the run that it is nested in."""

    kind: Literal["run"] = "run"
    key: str = Field(pattern=RUN_ID)
    parent_key: str | None = Field(default=None, pattern=RUN_ID)
    experiment: str
    run_name: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: tuple[DatasetInput, ...] = ()


class Metrics(_Record):
    """Log values at the iteration `step`."""

    kind: Literal["figures"] = "figures"
    step: int
    values: dict[str, float]


class Tags(_Record):
    """Set tags; the description is one."""

    kind: Literal["tags"] = "tags"
    values: dict[str, str]


class Artifact(_Record):
    """Upload the file or folder `path`, relative to the run's folder, into the artifact folder `folder`."""

    kind: Literal["artifact"] = "artifact"
    path: str
    folder: str = ""


class Text(_Record):
    """Upload a text as the artifact `name`."""

    kind: Literal["text"] = "text"
    name: str
    text: str


class StatusChange(_Record):
    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


Record = CreateRun | Metrics | Tags | Artifact | Text | StatusChange
_ANY: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def parse_record(line: bytes) -> Record:
    """The record in `line`, as JSON. Raises ValueError if it is none."""
    return _ANY.validate_json(line)


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
        record = entry.record
        if record is None or is_gone:
            return state._with(gone=state.gone + 1)
        if isinstance(record, Metrics):
            steps = state.steps | dict.fromkeys(record.values, record.step)
            return state._with(metric_values=state.metric_values + len(record.values), steps=steps)
        return state._with(others=state.others + 1, status=record.status if isinstance(record, StatusChange) else state.status)

    def deferred(self, entry: Entry) -> DeliveryState:
        """The state once `entry` is to be tried again after all others."""
        return self._past(entry, retry=(entry.start,))

    def created(self, entry: Entry, key: str, run_id: str, experiment_id: str) -> DeliveryState:
        return self.acked(entry)._with(key=key, run_id=run_id, experiment_id=experiment_id)

    def _past(self, entry: Entry, retry: tuple[int, ...]) -> DeliveryState:
        others = tuple(start for start in self.retry_offsets if start != entry.start)
        return self._with(committed=max(self.committed, entry.end), retry_offsets=others + retry)

    def _with(self, **changes: Any) -> DeliveryState:
        return self.model_copy(update=changes)
