"""The base of every configuration section: frozen, checked, and without unknown keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """One part of the configuration tree. The line beneath a field documents it, and is also what `--help` prints."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        validate_default=True,
    )

    @model_validator(mode="after")
    def _numbers_have_64_bits(self) -> Self:
        for name, value in self:
            if type(value) is int and not -(2**63) <= value < 2**63:
                raise ValueError(f"{name} is too large a number")
        return self


def leaves(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every leaf of nested mappings and lists: `curriculum.stages.0.type`. What is empty is a leaf."""
    children: list[tuple[Any, Any]] = []
    if isinstance(node, Mapping):
        children = list(node.items())
    elif isinstance(node, list | tuple):
        children = list(enumerate(node))
    if not children:
        yield name, node
    for key, child in children:
        yield from leaves(child, f"{name}.{key}" if name else str(key))
