"""The configuration as MLflow keeps it: flat, dotted names and short strings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from masklab.io.redaction import redact
from masklab.schema import leaves

VALUE_LENGTH = 6000
NAME_LENGTH = 250
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


def flat_params(tree: Mapping[str, Any]) -> dict[str, str]:
    """Dotted name -> value of every leaf of a nested mapping, lists by index: `curriculum.stages.0.type` -> `sticky`.

    Values are cut at the length that MLflow takes and passwords in URIs are left out.
    """
    return {_NOT_IN_NAMES.sub("_", name)[:NAME_LENGTH]: redact(_words(value))[:VALUE_LENGTH] for name, value in leaves(tree)}


def _words(value: Any) -> str:
    """As YAML would write it, so that a parameter can be pasted back as an override."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
