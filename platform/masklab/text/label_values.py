"""Labels as users write them: the name of a class, a number, or one class for each character of a text."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Literal

import numpy as np

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
        raise ValueError("names no class; for a label of each character give dataset.label_type=per_token")
    return str(value).strip()


def number(value: Any) -> float | None:
    """A number that a 32-bit float can hold, or None where it is missing. Raises ValueError for anything else."""
    if is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError("is no number; for classes give dataset.label_type=class")
    try:
        read = float(value.replace("_", "?")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        raise ValueError("is no number; for classes give dataset.label_type=class") from None
    if math.isnan(read):
        return None
    if abs(read) > float(np.finfo(np.float32).max):
        raise ValueError("is not finite as a 32-bit number; correct it or leave it empty")
    return read


def token_names(value: Any, text: str) -> TokenNames | None:
    """The classes of the characters of `text`, None for one that has none; None where all are missing.

    They stand in a list, in a string with blanks between them, or in a string of one sign each, where a blank is no label.
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
