"""The configuration section `dataset`: which text, how it is split, and where windows are cut from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from masklab.io.paths import checked_name
from masklab.schema import Section
from masklab.text.labels import LabelType, Unit
from masklab.text.sources.labelled_file import LabelledFile
from masklab.text.sources.nanogpt import NanoGPT
from masklab.text.sources.origin import LabelledOrigin
from masklab.text.sources.python_docs import PythonDocs
from masklab.text.sources.python_packages import PythonPackages
from masklab.text.sources.shakespeare_char import ShakespeareChar
from masklab.text.sources.text_file import TextFile
from masklab.text.windows import Placement

SourceName = Literal["python_docs", "text", "shakespeare_char", "nanogpt", "labelled", "python_packages"]
Source = Annotated[PythonDocs | TextFile | ShakespeareChar | NanoGPT | LabelledFile | PythonPackages, Field(discriminator="source")]

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


OF_LABELLED_FILES = ("text_column", "label_column", "label_type")


class Dataset(Section):
    """The text of a run."""

    name: str = "custom"
    """Name in tables and in the file name of the prepared corpus. By default the name of the dataset file."""
    source: SourceName
    """Source of the text. labelled and python_packages have labels, the others are plain text."""
    path: str | None = None
    """File or folder to read, for sources that need one."""
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share held out for validation: the last characters of a text, or rows of each class. A nanogpt folder keeps its own split."""
    windows: Placement = "anywhere"
    """Training windows start anywhere, start at paragraphs, or tile the text so that each is read once per epoch (epochs)."""
    text_column: str | None = None
    """Column of the texts in a labelled file. If null, `text`."""
    label_column: str | None = None
    """Column of the labels in a labelled file. If null, `label`."""
    label_type: LabelType | None = None
    """Labels of a labelled file: one class or one number per text, or a class for each character (per_token). If null, class."""
    max_rows: int | None = Field(default=None, ge=1)
    """Maximum number of labelled training rows, drawn in proportion to the classes. The validation rows stay the same."""

    @field_validator("name")
    @classmethod
    def _one_path_component(cls, name: str) -> str:
        return checked_name(name)

    @model_validator(mode="after")
    def _path_fits_the_source(self) -> Self:
        if self.source != "labelled":
            for key in OF_LABELLED_FILES:
                if (value := getattr(self, key)) is not None:
                    raise ValueError(
                        f"{key}={value} goes with source=labelled, not with {self.source}; leave it out or use dataset=labelled"
                    )
        if self.text_column is not None and self.text_column == self.label_column:
            raise ValueError(f"text_column and label_column are both {self.text_column}; give two columns")
        if not self.is_labelled and self.max_rows is not None:
            raise ValueError(f"max_rows={self.max_rows} counts labelled rows, and source={self.source} has none; leave it out")
        if self.is_labelled and self.windows != "anywhere":
            raise ValueError(f"windows={self.windows} is for plain text; rows with labels are read whole: leave it out")
        return self

    @property
    def is_labelled(self) -> bool:
        return self.labels_of is not None

    @property
    def labels_of(self) -> Unit | None:
        """What has labels: whole rows, or each of their tokens; None for plain text."""
        origin = self.origin
        if not isinstance(origin, LabelledOrigin):
            return None
        return "tokens" if origin.label_type == "per_token" else "rows"

    @property
    def origin(self) -> Source:
        columns: dict[str, Any] = {key: value for key in OF_LABELLED_FILES if (value := getattr(self, key)) is not None}
        try:
            return SOURCE.validate_python({"source": self.source, "path": self.path} | (columns if self.source == "labelled" else {}))
        except ValidationError as error:
            raise ValueError("; ".join(str(detail["ctx"]["error"]) for detail in error.errors())) from None
