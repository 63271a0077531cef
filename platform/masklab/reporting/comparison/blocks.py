"""The blocks that a report is made of, words, tables and plots without markup, and their rendering as HTML and as Markdown.

Both renderings escape every word: it may come from a curriculum's file or from an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from masklab.reporting.pages import render
from masklab.reporting.plots import COLOURS, FAINT, GRID, INK
from masklab.reporting.tables import escaped, markdown_table, one_line

FENCE = "`" * 4
VARIABLES = {INK: "ink", FAINT: "faint", GRID: "rule", "#ffffff": "paper"} | {colour.lower(): f"c{i}" for i, colour in enumerate(COLOURS)}
"""The variable of the page's style for each colour of the plots."""


@dataclass(frozen=True)
class Heading:
    """The title of a chapter; `level` 1 is the title of the report."""

    words: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Sentences; a `note` is set in small print."""

    words: str
    note: bool = False


@dataclass(frozen=True)
class Bullets:
    items: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The finding on one arm: a `badge` of one or two words in the colour of `kind`, a sentence, and its explanation."""

    name: str
    description: str
    badge: str
    kind: str
    sentence: str
    reasons: tuple[str, ...]
    conclusion: str


@dataclass(frozen=True)
class Table:
    """Rows of cells. The first `words` columns hold words, the rest numbers; the rows numbered in `strong` are emphasised."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """A plot as SVG with its file name and caption."""

    name: str
    svg: str
    caption: str

    def _repr_svg_(self) -> str:
        return self.svg


@dataclass(frozen=True)
class Code:
    """Command lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """Blocks that are hidden until the reader opens them."""

    words: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Bullets | Answer | Table | Picture | Code | Folded


def page(blocks: Sequence[Block], title: str) -> str:
    """The blocks as one HTML file that fetches nothing and runs nothing."""
    return render("report.html.j2", {"inline_svg": _inline}, blocks=blocks, title=title, colours=COLOURS)


def _inline(picture: Picture) -> str:
    """The plot as an element of a page: without its XML head, in the page's colours, its caption for screen readers."""
    from markupsafe import Markup, escape

    element = picture.svg[picture.svg.index("<svg") :]
    for colour, variable in VARIABLES.items():
        element = element.replace(colour, f"var(--{variable})")
    element = re.sub(r' xmlns(:xlink)?="[^"]*"', "", element).replace("xlink:href", "href")
    label = escape(one_line(picture.caption))
    head = re.compile(r"<svg[^>]*?(viewBox=\"[^\"]*\")[^>]*>")
    return Markup(head.sub(lambda found: f'<svg {found[1]} role="img" aria-label="{label}">', element, count=1).rstrip())


def markdown(blocks: Sequence[Block], pictures: str) -> str:
    """The blocks as Markdown; the SVG files of the pictures lie in the folder `pictures` beside it."""
    return "\n\n".join(_block(block, pictures) for block in blocks) + "\n"


def _block(block: Block, pictures: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escaped(block.words)}"
        case Paragraph():
            return f"*{escaped(block.words)}*" if block.note else escaped(block.words)
        case Bullets():
            return "\n".join(f"- {escaped(item)}" for item in block.items)
        case Answer():
            return _answer(block)
        case Table():
            return markdown_table(block.columns, block.rows, range(block.words, len(block.columns)), block.strong)
        case Picture():
            return f"![{escaped(block.caption)}]({pictures}/{block.name}.svg)\n\n*{escaped(block.caption)}*"
        case Code():
            return "\n".join([f"{FENCE}sh", *(one_line(line).replace(FENCE, "") for line in block.lines), FENCE])
        case Folded():
            inner = "\n\n".join(_block(part, pictures) for part in block.blocks)
            return f"<details><summary>{escaped(block.words)}</summary>\n\n{inner}\n\n</details>"


def _answer(answer: Answer) -> str:
    first = f"**{escaped(answer.name)}: {answer.badge}.** {escaped(answer.sentence)}" + (
        f" {escaped(answer.conclusion)}" if answer.conclusion else ""
    )
    return "\n".join([first, "", *(f"- {escaped(reason)}" for reason in answer.reasons)]).rstrip()
