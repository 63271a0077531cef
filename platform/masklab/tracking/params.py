"""The configuration as MLflow keeps it: flat, dotted names and short strings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from masklab.io.redaction import redact

VALUE_LENGTH = 6000
NAME_LENGTH = 250
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


def flat_params(tree: Mapping[str, Any]) -> dict[str, str]:
    """Dotted name -> value of every leaf of a nested mapping, lists by index: `curriculum.stages.0.type` -> `sticky`.

    Values are cut at the length that MLflow takes and passwords in URIs are left out.
    """
    return {_NOT_IN_NAMES.sub("_", name)[:NAME_LENGTH]: redact(_words(value))[:VALUE_LENGTH] for name, value in _leaves(tree, "")}


def _leaves(node: Any, name: str) -> Iterator[tuple[str, Any]]:
    inner: Iterator[tuple[Any, Any]] | None = None
    if isinstance(node, Mapping):
        inner = iter(node.items())
    elif isinstance(node, list | tuple):
        inner = enumerate(node)
    if inner is None or not node:
        yield name, node
        return
    for key, child in inner:
        yield from _leaves(child, f"{name}.{key}" if name else str(key))


def _words(value: Any) -> str:
    """As YAML would write it, so that a parameter can be pasted back as an override."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
