"""Labels of a text: as users write them, and their meaning, classes by name or a number with its scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from masklab.errors import DataError

Unit = Literal["rows", "tokens"]
"""What has a label."""


def readable(name: str, length: int = 40) -> str:
    """A label as a line of at most `length` characters, none of which a terminal could take for a command."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in name).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


@dataclass(frozen=True)
class Labels:
    """Classes by `names`, label number i being `names[i]`; or a number, whose training rows have this `mean` and `deviation`.

    `counts` are the training rows, or tokens, of each class. `of` says whether a whole row has one label, or each of its tokens.
    """

    of: Unit = "rows"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def is_number(self) -> bool:
        return not self.names

    def to_json(self) -> dict[str, Any]:
        return {"of": self.of, "names": list(self.names), "counts": list(self.counts), "mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_json(cls, value: Any) -> Labels:
        """The inverse of `to_json`. Raises DataError for anything else."""
        try:
            names = tuple(value["names"])
            counts = tuple(value["counts"])
            assert all(isinstance(name, str) for name in names) and value["of"] in ("rows", "tokens")
            assert all(type(count) is int for count in counts) and len(counts) == len(names)
            return cls(value["of"], names, counts, float(value["mean"]), float(value["deviation"]))
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise DataError("stored labels must have 'of', 'names', 'counts', 'mean' and 'deviation'; the file is damaged") from error


LabelType = Literal["class", "number", "per_token"]
TokenNames = tuple[str | None, ...]


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, blanks alone, or the NaN by which tables mark what is not there."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def class_name(value: Any) -> str | None:
    """The name of a class, or None where it is missing. Raises ValueError when `value` is a list or another structure."""
    if is_missing(value):
        return None
    if isinstance(value, list | tuple | dict | set | bytes):
        raise ValueError("is not the name of a class; for a label of each character give dataset.label_type=per_token")
    return str(value).strip()


def number(value: Any) -> float | None:
    """A number that a 32-bit float can hold, or None where it is missing. Raises ValueError for anything else."""
    if is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("is not a number; for classes give dataset.label_type=class")
    try:
        read = float(value.replace("_", "?")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise ValueError("is not a number; for classes give dataset.label_type=class") from None
    if math.isnan(read):
        return None
    if abs(read) > float(np.finfo(np.float32).max):
        raise ValueError("is not finite as a 32-bit number; correct it or leave it empty")
    return read


def token_names(value: Any, text: str) -> TokenNames | None:
    """The classes of the characters of `text`, None for one that has none; None where all are missing.

    They are given as a list, as a string with blanks between them, or as a string of one sign each, where a blank means no label.
    Raises ValueError when they are not as many as the characters.
    """
    if is_missing(value):
        return None
    if isinstance(value, str):
        words = value.split()
        parts: list[Any] = words if len(words) == len(text) else list(value)
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        raise ValueError("is neither a list of labels nor a string of them; for one label a row give dataset.label_type=class")
    if len(parts) != len(text):
        raise ValueError(f"has {len(parts):,} labels for {len(text):,} characters; give one for each")
    names = tuple(class_name(part) for part in parts)
    return names if any(name is not None for name in names) else None
