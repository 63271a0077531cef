"""Paths and names as users write them, checked before they reach a system call."""

from __future__ import annotations

import os
import re
from pathlib import Path

from masklab.errors import ConfigError, shown

LONGEST_PATH, LONGEST_PART = 4095, 255
"""Bytes of a path, and of one of its parts."""


def absolute_path(text: str, key: str = "path") -> Path:
    """The absolute path of `text`, the value of `key`, with `~` expanded. Raises ConfigError when no file can have that path."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # `~name` of an unknown user: then it is a name like any other
        path = Path(text)
    path = path.absolute()
    if flaw := _flaw(path):
        raise ConfigError(f"{key} = {shown(text)}: is not a path ({flaw}); give another")
    return path


def _flaw(path: Path) -> str | None:
    """Why no file can have the path `path`; None when one can."""
    if "\0" in str(path):
        return "it holds a NUL character"
    try:
        parts = [os.fsencode(part) for part in path.parts]
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair"
    if sum(len(part) + 1 for part in parts) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in parts):
        return f"it is longer than {LONGEST_PATH:,} bytes, or a part of it is longer than {LONGEST_PART}"
    return None


LONGEST = 100
"""Characters."""
LONGEST_OF_CURRICULA = 80
"""Characters of a curriculum's name, to which the names of controls and of unnamed runs add some."""
PATTERN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(10))})
"""Names of devices on Windows, where no file can have such a name, with or without an extension."""
RULE = f"must be 1 to {LONGEST} letters, digits, '.', '_' or '-', the first a letter or digit (a name, not a path)"


def is_name(text: str) -> bool:
    """Whether `text` can be the name of a file on every system, in the folder where it is made."""
    return bool(PATTERN.fullmatch(text)) and not text.endswith(".") and text.partition(".")[0].lower() not in RESERVED


def checked_name(text: str) -> str:
    """`text`. Raises ValueError when it is not a name."""
    if is_name(text):
        return text
    if PATTERN.fullmatch(text):
        raise ValueError("must not end in '.' or be the name of a Windows device, such as con or nul; choose another")
    raise ValueError(RULE)
