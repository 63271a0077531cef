"""What a report is made of: blocks of plain words, tables and pictures, without any markup of their own.

A renderer makes a page of them, and escapes whatever it is given.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """The beginning of a chapter; `level` 1 is the report's own title."""

    words: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Some sentences; a `note` is what a reader may pass over."""

    words: str
    note: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What is found about one arm: a `badge` of one or two words in the colour of `kind`, a sentence, and what explains it."""

    name: str
    description: str
    badge: str
    kind: str
    sentence: str
    reasons: tuple[str, ...]
    conclusion: str


@dataclass(frozen=True)
class Table:
    """Rows of cells. The first `words` columns hold words, the rest figures; `strong` numbers the rows that stand out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, with the file name that it goes by and what it shows."""

    name: str
    svg: str
    caption: str

    def _repr_svg_(self) -> str:
        """How a notebook shows it."""
        return self.svg


@dataclass(frozen=True)
class Code:
    """Lines to be copied."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that are shown when asked for."""

    words: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Bullets | Answer | Table | Picture | Code | Folded
