"""The base classes of text sources."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from masklab.errors import DataError
from masklab.io.paths import absolute_path
from masklab.schema import Section
from masklab.text.labels import LabelType
from masklab.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Splits:
    """`train` (N,) and `validation` (N,) tokens of one vocabulary."""

    train: NDArray[Any]
    validation: NDArray[Any]
    vocabulary: Vocabulary


class Origin(Section):
    """A source of text, as the configuration names it."""

    source: str
    """Kind of source."""
    path: str | None = None
    """The file or folder of the text, for the sources that need one."""

    @abstractmethod
    def state(self) -> str:
        """A word that changes when the text changes, found without reading it. Raises DataError when the text is not there."""

    @property
    def place(self) -> Path | None:
        return absolute_path(self.path, "dataset.path") if self.path is not None else None


class PlainOrigin(Origin):
    """A source of text without labels."""

    @abstractmethod
    def splits(self, validation_fraction: float, folder: Path) -> Splits:
        """Read the text. `folder` is where a download is kept. Raises DataError for whatever is wrong with the text."""


@dataclass(frozen=True)
class Example:
    """A row as it was found: `place` tells where, and `text` and `label` may still be anything."""

    place: str
    text: Any
    label: Any


class LabelledOrigin(Origin):
    """A source of rows with labels."""

    label_type: LabelType = "class"
    """What a label is."""

    @abstractmethod
    def examples(self) -> Iterator[Example]:
        """Read the rows. Raises DataError for whatever is wrong with the file, though not with a single text or label."""


class TextOrigin(PlainOrigin):
    """A source that is one text, whose last part is held out."""

    @abstractmethod
    def text(self, folder: Path) -> str:
        """The whole text."""

    def splits(self, validation_fraction: float, folder: Path) -> Splits:
        """Hold out the last `validation_fraction` of the characters, rounded as nanoGPT's `prepare.py` rounds."""
        text = self.text(folder)
        where = self.path or self.source
        if not text:
            raise DataError(f"{where}: the text is empty; give one with characters in it")
        cut = int(len(text) * (1 - validation_fraction))
        if not 0 < cut < len(text):
            split, change = ("training", "smaller") if cut == 0 else ("validation", "larger")
            raise DataError(
                f"{where}: the {split} split is empty: {len(text):,} characters at dataset.validation_fraction={validation_fraction:g}; "
                f"give a longer text or a {change} fraction"
            )
        vocabulary = Vocabulary.of_text(text)
        tokens = vocabulary.encode(text)
        return Splits(tokens[:cut], tokens[cut:], vocabulary)


def required(path: str | None, source: str, what: str) -> str:
    """`path`, which the `source` cannot do without. Raises ValueError that says `what` to give when it is missing."""
    if not path:
        raise ValueError(f"source={source} needs a path: give dataset.path={what}")
    return path
