"""What became of the weights that a network begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """Some weights, in words, and how many they are."""

    what: str
    parameters: int


@dataclass(frozen=True)
class TransferReport:
    """What became of the weights of a source. `notes` say what else is not as it was there."""

    loaded: tuple[Part, ...] = ()
    new: tuple[Part, ...] = ()
    left: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        parts = {name: [vars(part) for part in getattr(self, name)] for name in ("loaded", "new", "left")}
        return {**parts, "notes": list(self.notes)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TransferReport:
        parts = {name: tuple(Part(**part) for part in value[name]) for name in ("loaded", "new", "left")}
        return cls(**parts, notes=tuple(value["notes"]))

    def beside(self, *others: TransferReport) -> TransferReport:
        """All of them as one."""
        every = (self, *others)
        return TransferReport(
            loaded=tuple(part for report in every for part in report.loaded),
            new=tuple(part for report in every for part in report.new),
            left=tuple(part for report in every for part in report.left),
            notes=tuple(note for report in every for note in report.notes),
        )
