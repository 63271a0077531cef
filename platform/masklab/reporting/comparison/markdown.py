"""A report's blocks as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Code, Folded, Heading, Paragraph, Picture, Table
from masklab.reporting.unmasking.glyphs import plain

MEANING = {ord(character): f"\\{character}" for character in "\\`*_[]|"} | {ord("<"): "&lt;", ord("&"): "&amp;"}
FENCE = "`" * 4


def markdown(blocks: Sequence[Block], pictures: str) -> str:
    """The whole text; its pictures lie in the folder `pictures` beside it, as SVG."""
    return "\n\n".join(_block(block, pictures) for block in blocks) + "\n"


def _block(block: Block, pictures: str) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_words(block.words)}"
        case Paragraph():
            return f"*{_words(block.words)}*" if block.note else _words(block.words)
        case Bullets():
            return "\n".join(f"- {_words(item)}" for item in block.items)
        case Answer():
            return _answer(block)
        case Table():
            return _table(block)
        case Picture():
            return f"![{_words(block.caption)}]({pictures}/{block.name}.svg)\n\n*{_words(block.caption)}*"
        case Code():
            return "\n".join([f"{FENCE}sh", *(_line(line).replace(FENCE, "") for line in block.lines), FENCE])
        case Folded():
            inner = "\n\n".join(_block(part, pictures) for part in block.blocks)
            return f"<details><summary>{_words(block.words)}</summary>\n\n{inner}\n\n</details>"


def _answer(answer: Answer) -> str:
    first = f"**{_words(answer.name)}: {answer.badge}.** {_words(answer.sentence)}" + (
        f" {_words(answer.conclusion)}" if answer.conclusion else ""
    )
    return "\n".join([first, "", *(f"- {_words(reason)}" for reason in answer.reasons)]).rstrip()


def _table(table: Table) -> str:
    sides = ["---" if column < table.words else "---:" for column in range(len(table.columns))]
    rows = [
        [f"**{_words(cell)}**" if i in table.strong and c == 0 else _words(cell) for c, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [[_words(column) for column in table.columns], sides, *rows])


def _words(words: str) -> str:
    """One line in which no character has a meaning of its own."""
    return _line(words).translate(MEANING)


def _line(words: str) -> str:
    return plain(" ".join(words.split()))
