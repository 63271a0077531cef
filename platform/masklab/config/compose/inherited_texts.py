"""Texts out of a checkpoint, kept away from the resolver of interpolations: `${oc.env:TOKEN}` in one of them stays what it is."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any


@dataclass
class InheritedTexts:
    """Stands a word of its own in for every text that an interpolation could hide in, and puts the texts back."""

    _texts: dict[str, str] = field(default_factory=dict)

    def replaced(self, value: Any) -> Any:
        """`value`, plain values at any depth, with stand-ins."""
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
