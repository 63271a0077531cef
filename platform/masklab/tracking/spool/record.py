"""What can wait in a spool for MLflow. A record is checked when it is read, since a run's folder can come from anywhere."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from masklab.tracking.provenance import DatasetInput

RUN_ID = r"^[0-9a-f]{32}$"
"""What MLflow calls a run; the keys of runs look alike."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    at: int
    """When it happened: milliseconds since 1970. MLflow is told this time, whenever it is told."""


class CreateRun(_Record):
    """A run that is to be made, unless one with its `key` is there already. `parent_key` is that of the run that it belongs to."""

    kind: Literal["run"] = "run"
    key: str = Field(pattern=RUN_ID)
    parent_key: str | None = Field(default=None, pattern=RUN_ID)
    experiment: str
    run_name: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: tuple[DatasetInput, ...] = ()


class Metrics(_Record):
    """Metrics at the iteration `step`."""

    kind: Literal["figures"] = "figures"
    step: int
    values: dict[str, float]


class Params(_Record):
    """Configuration values."""

    kind: Literal["params"] = "params"
    values: dict[str, str]


class Tags(_Record):
    """Tags, the description among them."""

    kind: Literal["tags"] = "tags"
    values: dict[str, str]


class Artifact(_Record):
    """The file or folder `path` of the run's folder, to be kept under `folder`."""

    kind: Literal["artifact"] = "artifact"
    path: str
    folder: str = ""


class Text(_Record):
    """A text, to be kept as the file `name`."""

    kind: Literal["text"] = "text"
    name: str
    text: str


class StatusChange(_Record):
    """What the run has become."""

    kind: Literal["status"] = "status"
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


Record = CreateRun | Metrics | Params | Tags | Artifact | Text | StatusChange
_ANY: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def record_of(line: bytes) -> Record:
    """The record that `line` holds as JSON. Raises ValueError where it holds none."""
    return _ANY.validate_json(line)
