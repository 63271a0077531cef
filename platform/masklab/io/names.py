"""The one rule for names that become files and folders: of runs, datasets, curricula, experiments, and the arms of a comparison."""

from __future__ import annotations

import re

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
