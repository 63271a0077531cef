"""What became of an older configuration, as lines of text: what was carried over, what was not and why, and what was written."""

from __future__ import annotations

from typing import Any

from masklab.config.legacy.importer import Carriage, Entry
from masklab.errors import shown

ALWAYS_SO = "(always so)"


def table(carriage: Carriage) -> list[str]:
    """The lines."""
    rows = [("older name", "its value", "today"), *(_carried(entry) for entry in carriage.entries)]
    lines = [*_columns(rows), ""]
    if carriage.left:
        left = [("not carried over", "its value", "why"), *((_name(name), _value(value), reason) for name, value, reason in carriage.left)]
        lines += [*_columns(left), ""]
    lines += [f"wrote {path}" for path in carriage.texts]
    return [*lines, f"train it: python jobs/train.py +experiment={carriage.name}", "What the file leaves open has masklab's defaults."]


def _carried(entry: Entry) -> tuple[str, str, str]:
    keys = [f"{key.removeprefix('/')}={_value(value)}" for key, value in entry.keys.items()]
    return _name(entry.name), _value(entry.value), " ".join(keys) or ALWAYS_SO


def _name(name: str) -> str:
    return name if name.isprintable() and len(name) <= 60 else shown(name)


def _value(value: Any) -> str:
    """The value, shortened; a list of dictionaries by its length."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return f"{len(value)} stages" if len(value) > 1 else "1 stage"
    if isinstance(value, str) and value.isprintable() and value.strip() == value and 0 < len(value) <= 60:
        return value
    return "" if value is None else shown(value)


def _columns(rows: list[tuple[str, str, str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]
