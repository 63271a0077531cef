"""How each token of a text shows: one visible sign for each, and nothing that a terminal or a page could take for a command."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from masklab.text.vocabulary import SPECIAL_SIGN, Vocabulary

MASKED, NEWLINE = "░", "⏎"
REPLACED = {"\n": NEWLINE, NEWLINE: "↵", MASKED: "▒"}
"""A text that holds one of our own signs shows another that is like it."""
CONTROL_PICTURES, DELETE_PICTURE = 0x2400, "␡"
CARRIER = "◌"
"""What carries a mark that would else combine with the sign before it."""
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
    """`words` with every character as its sign."""
    return "".join(map(sign, words))


def row_signs(table: Sequence[str], tokens: Sequence[int]) -> list[str]:
    """The sign of each token of a text, by the `table` of `signs`."""
    return [table[token] for token in tokens]
