"""The configuration section `dataset`: which text, how it is split, and where windows are cut from it."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from masklab.schema import Section
from masklab.text.sources.source import SOURCE, Source, SourceName
from masklab.text.windows import Placement

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Dataset(Section):
    """The text of a run."""

    name: str = "custom"
    """What tables and the corpus's file call it; a dataset file's own name unless it says otherwise."""
    source: SourceName
    """Where the text comes from: python_docs, text, shakespeare_char or nanogpt."""
    path: str | None = None
    """The file or folder to read, for the sources that need one."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the characters, at the end, that is held out; a nanogpt folder keeps the split it has."""
    windows: Placement = "anywhere"
    """Training windows begin anywhere, at paragraphs, or lie side by side and are each read once in an epoch (epochs)."""

    @field_validator("name")
    @classmethod
    def _one_path_component(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("must be 1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit (a name, not a path)")
        return name

    @model_validator(mode="after")
    def _path_fits_the_source(self) -> Self:
        try:
            self.origin  # noqa: B018
        except ValidationError as error:
            raise ValueError("; ".join(str(detail["ctx"]["error"]) for detail in error.errors())) from None
        return self

    @property
    def origin(self) -> Source:
        """The source that the section names."""
        return SOURCE.validate_python({"source": self.source, "path": self.path})
