"""Tables as Markdown and as aligned lines of plain text, and words without markup of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from rich.cells import cell_len

from masklab.reporting.unmasking.glyphs import plain

MEANING = {ord(character): f"\\{character}" for character in "\\`*_[]|"} | {ord("<"): "&lt;", ord("&"): "&amp;"}


def one_line(words: str) -> str:
    """`words` on one line, every control character as a visible sign."""
    return plain(" ".join(words.split()))


def escaped(words: str) -> str:
    """`words` on one line in which no character has a meaning to Markdown or HTML."""
    return one_line(words).translate(MEANING)


def table_lines(
    head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = (), strong: Collection[int] = ()
) -> Iterator[str]:
    """The lines of a Markdown table, as its rows come. Columns in `right` are right-aligned; rows in `strong` have a bold first cell."""
    yield _row(map(escaped, head))
    yield _row("---:" if column in right else "---" for column in range(len(head)))
    for number, row in enumerate(rows):
        first, *rest = map(escaped, row)
        yield _row([f"**{first}**" if number in strong else first, *rest])


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = (), strong: Collection[int] = ()) -> str:
    """A table as Markdown; see `table_lines`."""
    return "\n".join(table_lines(head, rows, right, strong))


def aligned_lines(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """The same table in columns of plain text, for a terminal or a log; lines are never broken."""
    table = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(gap + cell if i in right else cell + gap for i, (cell, gap) in enumerate(zip(row, gaps, strict=True))).rstrip()


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
