"""YAML as plain values, within limits of size and depth.

A few lines of aliases can expand to more values than memory holds, and a few kilobytes of brackets to more levels than a parser can
descend. So the parser's events are counted first, before any value is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from masklab.errors import one_line

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The C parser if PyYAML has it, which is faster."""
LARGEST_FILE = 1 << 20
"""Bytes."""
MOST_VALUES = 100_000
"""Values, those that aliases expand to included."""
DEEPEST = 50
"""Levels of mappings and lists."""
LONGEST_NUMBER = 400
"""Characters. The time to parse some spellings of a number grows with the square of their length."""
_NUMBER = re.compile(r"[-+]?\.?[0-9][0-9A-Fa-fxXobOB_:.+-]*")


class YamlLimitError(yaml.YAMLError):
    """Well-formed YAML that is beyond a limit of this module."""


def read_yaml(path: Path) -> Any:
    """The values in the file at `path`. Raises OSError, UnicodeDecodeError or yaml.YAMLError."""
    return parse_yaml(yaml_text(path))


def parse_yaml(text: str) -> Any:
    """The values in `text`. Raises yaml.YAMLError."""
    check_yaml(text)
    try:
        return yaml.load(text, Loader=LOADER)
    except ValueError as error:  # an impossible date, or a number of too many digits
        raise yaml.YAMLError(one_line(error)) from error


def yaml_text(path: Path) -> str:
    """The text of a regular file of at most LARGEST_FILE bytes. Raises OSError, UnicodeDecodeError or yaml.YAMLError."""
    if not path.is_file():  # reading a pipe or a device might never end
        raise YamlLimitError("is not a regular file" if path.exists() else "no such file")
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise YamlLimitError(f"has more than {LARGEST_FILE:,} bytes, too many for a configuration")
    return content.decode("utf-8-sig")


def check_yaml(text: str) -> None:
    """Raise yaml.YAMLError unless `text` is YAML within the limits."""
    for _ in scalars(text):
        pass


def scalars(text: str) -> Iterator[str]:
    """The scalars of the YAML `text`, keys and values, as written. Raises yaml.YAMLError, and YamlLimitError beyond a limit."""
    if len(text) > LARGEST_FILE:
        raise YamlLimitError(f"has more than {LARGEST_FILE:,} characters, too many for a configuration")
    size = _Size()
    for event in yaml.parse(text, Loader=LOADER):
        size.count(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
                raise YamlLimitError(f"has a number of {len(event.value):,} characters")
            yield event.value


@dataclass
class _Size:
    """The number of values that the events so far expand to."""

    total: int = 0
    _open: list[tuple[str | None, int]] = field(default_factory=list)
    """For each open mapping and list its anchor, and the total when it began."""
    _anchored: dict[str, int] = field(default_factory=dict)

    def count(self, event: yaml.Event) -> None:
        """Add the values of `event`. Raises YamlLimitError beyond a limit, and for a recursive alias."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self.total))
            if len(self._open) > DEEPEST:
                raise YamlLimitError(f"is nested more than {DEEPEST} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            if anchor is not None:
                self._anchored[anchor] = self.total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in self._open}:
                raise YamlLimitError(f"has a recursive alias *{event.anchor}")
            self.total += self._anchored.get(event.anchor or "", 1)
        self.total += 1
        if self.total > MOST_VALUES:
            raise YamlLimitError(f"expands to more than {MOST_VALUES:,} values, too many for a configuration")
