"""The records of a spool. Each is validated when it is read, because a run's folder can come from anywhere."""

from __future__ import annotations

from typing import Annotated, Literal

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
    """Set the run's status."""

    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


Record = CreateRun | Metrics | Tags | Artifact | Text | StatusChange
_ANY: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def parse_record(line: bytes) -> Record:
    """The record in `line`, as JSON. Raises ValueError if it is none."""
    return _ANY.validate_json(line)
