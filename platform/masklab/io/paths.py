"""Paths as users write them, made absolute, or refused before any system call is asked to cope with them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from masklab.errors import ConfigError, shown

LONGEST_PATH, LONGEST_PART = 4095, 255
"""Bytes."""


def absolute_path(text: str, key: str = "path") -> Path:
    """The absolute path that `text`, the value of `key`, names, `~` included. Raises ConfigError for what no file can be called."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # of nobody that this system knows: then it is a name like any other
        path = Path(text)
    path = path.absolute()
    if flaw := _flaw(path):
        raise ConfigError(f"{key} = {shown(text)}: is not a path ({flaw}); give another")
    return path


def _flaw(path: Path) -> str | None:
    """Why no file can lie at `path`."""
    if "\0" in str(path):
        return "it holds a NUL"
    try:
        parts = [os.fsencode(part) for part in path.parts]
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair"
    if sum(len(part) + 1 for part in parts) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in parts):
        return f"it is longer than {LONGEST_PATH:,} bytes, or a part of it than {LONGEST_PART}"
    return None


LONGEST = 100
"""Characters."""
LONGEST_OF_CURRICULA = 80
"""Those of a curriculum's name, to which controls and runs without a name add some of their own."""
PATTERN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{device}{number}" for device in ("com", "lpt") for number in range(10))})
"""Devices of Windows, which no file there can be called, whatever its ending."""
RULE = f"must be 1 to {LONGEST} letters, digits, '.', '_' or '-', the first a letter or digit (a name, not a path)"


def is_name(text: str) -> bool:
    """Whether `text` names a file on every system, within the folder that it is made in."""
    return bool(PATTERN.fullmatch(text)) and not text.endswith(".") and text.partition(".")[0].lower() not in RESERVED


def checked_name(text: str) -> str:
    """`text`. Raises ValueError where it is no name."""
    if is_name(text):
        return text
    if PATTERN.fullmatch(text):
        raise ValueError("must not end in '.' or be the name of a device of Windows, such as con or nul; choose another")
    raise ValueError(RULE)
