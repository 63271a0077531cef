"""References from one key of a configuration to another: `${training.max_iters}` is replaced by the value of that key.

Nothing is called, computed or looked up outside of the configuration. The named value must not contain references itself, so that a few
lines of them cannot expand to more values than fit in memory.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from masklab.errors import ConfigError, shortened, shown

MOST = 100
"""References in one configuration."""
MISSING = "???"
"""A value that a file leaves to whoever uses it."""
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_KEY = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_ESCAPED = "\\${"


def without_references(tree: Mapping[str, Any]) -> dict[str, Any]:
    r"""`tree`, plain values, with values in place of references, and `${` in place of `\${`.

    Raises ConfigError for a reference to a missing key or to another reference, for malformed references, and for missing values.
    """
    values: dict[str, Any] = _Reading(tree).value(dict(tree), "")
    return values


def refers(text: str) -> bool:
    """Whether `text` holds a reference, or what would be one to a program that knows more of them."""
    return "${" in text.replace(_ESCAPED, "")


@dataclass
class _Reading:
    tree: Mapping[str, Any]
    count: int = 0

    def value(self, value: Any, place: str) -> Any:
        """`value`, found at `place`, with values in place of references."""
        if isinstance(value, dict):
            return {key: self.value(item, f"{place}.{key}" if place else str(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, f"{place}.{i}") for i, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        if value == MISSING:
            raise ConfigError(f"{place}: must be given")
        return self._text(value, place) if "${" in value else value

    def _text(self, text: str, place: str) -> Any:
        if whole := _REFERENCE.fullmatch(text):
            return copy.deepcopy(self._named(whole[1], text, place))
        parts = text.split(_ESCAPED)
        texts = [_REFERENCE.sub(lambda found: self._word(found[1], text, place), part) for part in parts]
        if any("${" in _REFERENCE.sub("", part) for part in parts):
            raise _no_reference(text, place)
        return "${".join(texts)

    def _word(self, key: str, text: str, place: str) -> str:
        value = self._named(key, text, place)
        if isinstance(value, dict | list):
            raise ConfigError(f"{place}: ${{{key}}} is not a single value, and cannot be part of a text")
        return str(value)

    def _named(self, key: str, text: str, place: str) -> Any:
        self.count += 1
        if self.count > MOST:
            raise ConfigError(f"{place}: the configuration has more than {MOST} references; write values")
        if not _KEY.fullmatch(key):
            raise _no_reference(text, place)
        node: Any = self.tree
        for part in key.split("."):
            if isinstance(node, list) and part.isdecimal() and len(part) < 10 and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, Mapping) and part in node:
                node = node[part]
            else:
                raise ConfigError(f"{place}: ${{{shortened(key)}}}: there is no such key in this configuration; write the value")
        if _holds_a_reference(node):
            raise ConfigError(f"{place}: ${{{shortened(key)}}} is, or holds, a reference itself; name a key that has a value")
        return node


def _holds_a_reference(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_a_reference, value.values()))
    if isinstance(value, list):
        return any(map(_holds_a_reference, value))
    return isinstance(value, str) and ("${" in value or value == MISSING)


def _no_reference(text: str, place: str) -> ConfigError:
    return ConfigError(f"{place}: {shown(text)} is not a reference to a key such as ${{training.max_iters}}; write the value")


@dataclass
class InheritedTexts:
    """Replaces every text that may contain an interpolation by a placeholder, and puts the texts back."""

    _texts: dict[str, str] = field(default_factory=dict)

    def replaced(self, value: Any) -> Any:
        """`value`, plain values at any depth, with placeholders."""
        if isinstance(value, dict):
            return {key: self.replaced(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.replaced(item) for item in value]
        if not isinstance(value, str) or "$" not in value:
            return value
        word = f"inherited-{secrets.token_hex(16)}"  # nobody can write a text that is one
        self._texts[word] = value
        return word

    def restored(self, value: Any) -> Any:
        """`value` with the texts again."""
        if isinstance(value, dict):
            return {key: self.restored(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.restored(item) for item in value]
        return self._texts.get(value, value) if isinstance(value, str) else value
