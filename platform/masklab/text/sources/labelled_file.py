"""Labelled texts of the user's: a table with a column of texts and one of labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import field_validator

from masklab.text.labels import LabelType
from masklab.text.sources.origin import Example, LabelledOrigin, required
from masklab.text.sources.table import read_columns
from masklab.text.sources.text_file import files_state, text_files

TEXT, LABEL = "text", "label"
"""The columns, unless others are named."""


class LabelledFile(LabelledOrigin):
    """A CSV, TSV, JSON lines or Parquet file, `.gz` or not."""

    source: Literal["labelled"] = "labelled"
    """Kind of source."""
    path: str | None = None
    """The file."""
    text_column: str = TEXT
    """Name of the column of texts."""
    label_column: str = LABEL
    """Name of the column of labels."""
    label_type: LabelType = "class"
    """What a label is."""

    @field_validator("path")
    @classmethod
    def _path_is_needed(cls, path: str | None) -> str:
        return required(path, "labelled", "FILE (CSV, TSV, JSON lines or Parquet)")

    def state(self) -> str:
        assert self.place
        return files_state(text_files(self.place)[:1], self.place.parent)

    def examples(self) -> Iterator[Example]:
        """The rows of the file. Raises DataError when it cannot be read, or lacks a column."""
        assert self.place
        wanted = {"dataset.text_column": self.text_column, "dataset.label_column": self.label_column}
        for place, (text, label) in read_columns(self.place, wanted):
            yield Example(place, text, label)
