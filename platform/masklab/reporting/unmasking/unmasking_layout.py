"""Breaking a text into lines."""

from __future__ import annotations

from collections.abc import Sequence

from masklab.reporting.unmasking.glyphs import NEWLINE


def lines(signs: Sequence[str], columns: int, *, whole_words: bool) -> list[range]:
    """The positions of each line: one ends after a newline, or where `columns` are full, before the word that did not fit if asked.

    A space or newline at the end of a full line stands beyond `columns`.
    """
    out: list[range] = []
    start, word = 0, 0
    for i, sign in enumerate(signs):
        is_gap = sign in (" ", NEWLINE)
        if i - start >= columns + is_gap:
            end = word if whole_words and word > start else i
            out.append(range(start, end))
            start = end
        if sign == NEWLINE:
            out.append(range(start, i + 1))
            start = i + 1
        if is_gap:
            word = i + 1
    if start < len(signs):
        out.append(range(start, len(signs)))
    return out
