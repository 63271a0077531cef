"""YAML as data: plain values alone, and no more of them than a configuration can need.

A few lines of aliases can stand for more values than any memory holds, and a few kilobytes of brackets for more levels than a program
can go down. So the text is gone through as events first, in which nothing has been built yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The quicker parser where PyYAML has come with it."""
LARGEST_FILE = 1 << 20
"""Bytes."""
MOST_VALUES = 100_000
"""Values, those that aliases stand for included."""
DEEPEST = 50
"""Levels of mappings and lists."""
LONGEST_NUMBER = 400
"""Signs: some spellings of a number take a time that grows with the square of theirs."""
_NUMBER = re.compile(r"[-+]?\.?[0-9][0-9A-Fa-fxXobOB_:.+-]*")


class YamlLimitError(yaml.YAMLError):
    """YAML that is well-formed, and more than a configuration can be."""


def read_yaml(path: Path) -> Any:
    """The values in the file at `path`. Raises OSError, UnicodeDecodeError, or yaml.YAMLError for whatever is no plain YAML."""
    return parse_yaml(yaml_text(path))


def parse_yaml(text: str) -> Any:
    """The values in `text`. Raises yaml.YAMLError."""
    check_yaml(text)
    try:
        return yaml.load(text, Loader=LOADER)
    except ValueError as error:  # an impossible date, or a number of too many digits
        raise yaml.YAMLError(" ".join(str(error).split())) from error


def yaml_text(path: Path) -> str:
    """The characters of the file at `path`, which must be a plain file and no larger than a configuration can be.

    Raises OSError, UnicodeDecodeError or yaml.YAMLError.
    """
    if not path.is_file():  # reading a pipe or a device might never end
        raise YamlLimitError("is no plain file" if path.exists() else "no such file")
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise YamlLimitError(f"has more than {LARGEST_FILE:,} bytes, too many for a configuration")
    return content.decode("utf-8-sig")


def check_yaml(text: str) -> None:
    """Raise yaml.YAMLError unless `text` is YAML of a size that can be built."""
    for _ in scalars(text):
        pass


def scalars(text: str) -> Iterator[str]:
    """The words of the YAML `text`, keys and values alike. Raises yaml.YAMLError, YamlLimitError where they are too many."""
    if len(text) > LARGEST_FILE:
        raise YamlLimitError(f"has more than {LARGEST_FILE:,} characters, too many for a configuration")
    size = _Size()
    for event in yaml.parse(text, Loader=LOADER):
        size.count(event)
        if isinstance(event, yaml.ScalarEvent):
            if event.implicit[0] and len(event.value) > LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
                raise YamlLimitError(f"has a number of {len(event.value):,} signs")
            yield event.value


@dataclass
class _Size:
    """How many values the events up to now stand for."""

    total: int = 0
    _open: list[tuple[str | None, int]] = field(default_factory=list)
    """The anchor of each mapping and list that is not at its end, and the total when it began."""
    _anchored: dict[str, int] = field(default_factory=dict)

    def count(self, event: yaml.Event) -> None:
        """Add what `event` stands for. Raises yaml.YAMLError where that is too much."""
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
                raise YamlLimitError(f"*{event.anchor} stands for a part of which it is a part itself")
            self.total += self._anchored.get(event.anchor or "", 1)
        self.total += 1
        if self.total > MOST_VALUES:
            raise YamlLimitError(f"stands for more than {MOST_VALUES:,} values, too many for a configuration")
