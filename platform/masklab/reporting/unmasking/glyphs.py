"""How each token of a text shows: one visible sign for each, and nothing that a terminal or a page could take for a command."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from masklab.sampling.trace import Snapshot
from masklab.text.vocabulary import SPECIAL_SIGN, Vocabulary

MASKED, NEWLINE = "░", "⏎"
REPLACED = {"\n": NEWLINE, NEWLINE: "↵", MASKED: "▒"}
"""A text that holds one of our own signs shows another that is like it."""
CONTROL_PICTURES, DELETE_PICTURE = 0x2400, "␡"
CARRIER = "◌"
"""The base for a combining mark, which would otherwise combine with the sign before it."""
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Unicode categories of controls, formats (those that turn the direction of text among them), nothings, surrogates and separators."""


def signs(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The sign of every token, special ones included."""
    specials = vocabulary.extended_size - vocabulary.size - 1
    return (*map(sign, vocabulary.characters), MASKED, *[SPECIAL_SIGN] * specials)


def sign(character: str) -> str:
    """A visible stand-in for `character`, or itself."""
    if character in REPLACED:
        return REPLACED[character]
    if character < " ":
        return chr(CONTROL_PICTURES + ord(character))
    if character == "\x7f":
        return DELETE_PICTURE
    category = unicodedata.category(character)
    if category in HIDDEN:
        return SPECIAL_SIGN
    if category.startswith("M"):
        return CARRIER + character
    return " " if category == "Zs" else character


def plain(words: str) -> str:
    return "".join(map(sign, words))


def row_signs(table: Sequence[str], tokens: Sequence[int]) -> list[str]:
    """The sign of each token of a text, by the `table` of `signs`."""
    return [table[token] for token in tokens]


def lines(signs: Sequence[str], columns: int, *, whole_words: bool) -> list[range]:
    """The positions of each line: one ends after a newline, or where `columns` are full, before the word that did not fit if asked.

    A space or newline at the end of a full line may exceed `columns`.
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


def caption(snapshot: Snapshot, mask_id: int, last_step: int | None = None) -> str:
    """`step 12 of 64 · 37 % masked · 12 network evaluations`, these for each text."""
    of = "" if last_step is None else f" of {last_step:,}"
    masked = float((snapshot.tokens == mask_id).mean()) if snapshot.tokens.size else 0.0
    return f"step {snapshot.step:,}{of} · {masked:.0%} masked · {_evaluations(snapshot)}".replace("%", " %")


def _evaluations(snapshot: Snapshot) -> str:
    fewest, most = int(np.min(snapshot.evaluations)), int(np.max(snapshot.evaluations))
    number = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{number} network evaluation{'' if number == '1' else 's'}"
