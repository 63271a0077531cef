"""Paths as users write them, made absolute, or refused before any system call is asked to cope with them."""

from __future__ import annotations

import os
from pathlib import Path

from masklab.errors import ConfigError

LONGEST_PATH, LONGEST_PART = 4095, 255
"""Bytes."""
SHOWN = 60


def place_of(text: str, key: str = "path") -> Path:
    """The absolute path that `text`, the value of `key`, names, `~` included. Raises ConfigError for what no file can be called."""
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # of nobody that this system knows: then it is a name like any other
        path = Path(text)
    path = path.absolute()
    if flaw := _flaw(path):
        raise ConfigError(f"{key} = {text if len(text) <= SHOWN else f'{text[:SHOWN]}...'!r}: is no path ({flaw}); give another")
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
