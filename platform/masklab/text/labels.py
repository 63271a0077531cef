"""What the labels of a text mean: classes by name, or a number with its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from masklab.errors import DataError

Unit = Literal["rows", "tokens"]
"""What has a label."""


def readable(name: str, length: int = 40) -> str:
    """A label as a line of at most `length` characters, none of which a terminal could take for a command."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in name).split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


@dataclass(frozen=True)
class Labels:
    """Classes by `names`, label number i being `names[i]`; or a number, whose training rows have this `mean` and `deviation`.

    `counts` are the training rows, or tokens, of each class. `of` says whether a whole row has one label, or each of its tokens.
    """

    of: Unit = "rows"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def is_number(self) -> bool:
        """Whether a number is to be predicted, rather than a class."""
        return not self.names

    def to_json(self) -> dict[str, Any]:
        """What a file keeps of them."""
        return {"of": self.of, "names": list(self.names), "counts": list(self.counts), "mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_json(cls, value: Any) -> Labels:
        """The inverse of `to_json`. Raises DataError for anything else."""
        try:
            names = tuple(value["names"])
            counts = tuple(value["counts"])
            assert all(isinstance(name, str) for name in names) and value["of"] in ("rows", "tokens")
            assert all(type(count) is int for count in counts) and len(counts) == len(names)
            return cls(value["of"], names, counts, float(value["mean"]), float(value["deviation"]))
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise DataError("stored labels must have 'of', 'names', 'counts', 'mean' and 'deviation'; the file is damaged") from error
