"""Records that lie as JSON files in the folders of runs, comparisons and sweeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from masklab.errors import RunError
from masklab.io.atomic_file import write_text


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A number that may be missing: JSON has no literal for NaN and infinity, so they are written as null."""


class Record(BaseModel):
    """A part of a record: frozen, and the same after a round trip through JSON, where an alias is the key of a field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )


class JsonRecord(Record):
    """A record that has a file of its own, called `FILE`, in whatever folder it describes."""

    FILE: ClassVar[str]
    REMEDY: ClassVar[str]
    """What a user can do about a file that is damaged."""

    def to_text(self) -> str:
        return self.model_dump_json(indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write the file in `folder`, whole or not at all. Raises DataError when it cannot be written."""
        write_text(folder / self.FILE, self.to_text())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record in `folder`. Raises RunError when there is none, or a damaged one."""
        path = folder / cls.FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be read ({type(error).__name__}); {cls.REMEDY}") from error
