"""A report's blocks as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Code, Folded, Heading, Paragraph, Picture, Table
from masklab.reporting.tables import escaped, markdown_table, one_line

FENCE = "`" * 4


def markdown(blocks: Sequence[Block], pictures: str) -> str:
    """The whole text; its pictures lie in the folder `pictures` beside it, as SVG."""
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
