r"""A prompt anywhere: given characters, and gaps that are to be generated, in one line of text.

| written | means |
|---|---|
| `[N]` | a gap of N characters |
| `[*]` | a gap of whatever the length leaves, at least one character; once at most |
| `\n` | a new line, since a shell passes on a backslash and an n |
| `\[` | a plain `[` where it would begin a gap; any other `[` is plain as it stands |
| `\\` | a plain backslash, so that `\\[5]` is a backslash and a gap |

All else stands for itself, a backslash before any other character included. A prompt without a gap is a prefix: `ROMEO:` means
`ROMEO:[*]`. So `[*] the end.` generates what comes before a suffix, and `To be or [5] to be` fills in five characters.

Shapes: T positions of the whole text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from masklab.errors import ConfigError, DataError, shortened
from masklab.text.vocabulary import Vocabulary

UnknownCharacters = Literal["error", "mask", "drop"]
"""What becomes of a given character that is not in the vocabulary: refused, another generated in its place, or left out."""
LONGEST = 1_000_000
"""Characters that a prompt may span, or a length ask for."""
ESCAPES = {r"\n": "\n", r"\[": "[", r"\\": "\\"}
GAP = r"\[(?:[0-9]+|\*)\]"
MARK = re.compile(rf"\\[n\\]|\\\[(?={GAP[2:]})|{GAP}")
PLAIN = {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\t": " "}
"""What to write for characters that word processors put in."""
BEYOND = "sampling.strategy=semi_autoregressive, which generates block by block beyond the training length"


SURROGATE = re.compile(r"[\ud800-\udfff]")
"""What Python makes of bytes in arguments that are not UTF-8."""


@dataclass(frozen=True)
class Gap:
    """Characters to be generated: `size` of them, or None for whatever the length leaves."""

    size: int | None


@dataclass(frozen=True)
class Prompt:
    """Given characters and gaps in their order, each with its offset in what was written."""

    pieces: tuple[tuple[int, str | Gap], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `text` by the grammar above. Raises ConfigError for `[0]`, a second `[*]`, more than `LONGEST` characters, or no UTF-8."""
        if broken := SURROGATE.search(text):
            raise ConfigError(f"sampling.prompt has a byte at offset {broken.start():,} that is not UTF-8; write the prompt in UTF-8")
        prompt = cls(tuple(_scan(text)))
        if prompt.gaps.count(Gap(None)) > 1:
            raise ConfigError(r"sampling.prompt has more than one [*]; give the others a size, as [5], or write \[*] for plain characters")
        span = len(prompt.pieces) + sum((gap.size or 1) - 1 for gap in prompt.gaps)
        if span > LONGEST:
            raise ConfigError(f"sampling.prompt spans {span:,} characters, gaps included; give at most {LONGEST:,}")
        return prompt

    @property
    def gaps(self) -> list[Gap]:
        return [piece for _, piece in self.pieces if isinstance(piece, Gap)]

    @property
    def fills_length(self) -> bool:
        """Whether the prompt takes any length that it fits, as a prefix or by `[*]`; else its gaps are numbered, and it has its own."""
        return not self.gaps or Gap(None) in self.gaps

    def tokens(
        self, vocabulary: Vocabulary, length: int | None, block_size: int, unknown: UnknownCharacters, limit: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The text to begin with (T,), masked where it is to be generated, and where it is given (T,).

        T is `length`, or if that is None, the prompt's own length, or `block_size` for a prompt that `fills_length`. What T leaves
        beyond numbered gaps is a gap at the end. `unknown` characters are refused, masked, or dropped before anything is counted.
        Raises ConfigError if T is more than `limit` (None for no limit) or the prompt does not fit, and DataError for an unknown
        character.
        """
        fixed, rest_at = self._fixed(vocabulary, unknown)
        if length is not None:
            T, name = length, "sampling.length"
        elif self.fills_length:
            T, name = block_size, "the model's block_size"
        else:
            T, name = len(fixed), "sampling.prompt"
        most = LONGEST if limit is None else limit
        if most < T:
            raise _too_long(T, name, limit)
        least, rest = int(self.fills_length), T - len(fixed)
        if rest < least:
            raise _does_not_fit(len(fixed), T, name, len(fixed) + least, limit)
        tokens_T = np.array([*fixed[:rest_at], *[vocabulary.mask_id] * rest, *fixed[rest_at:]], np.int64)
        return tokens_T, tokens_T != vocabulary.mask_id

    def _fixed(self, vocabulary: Vocabulary, unknown: UnknownCharacters) -> tuple[list[int], int]:
        """Tokens of all but what the length leaves, gaps masked, and the place among them where that belongs."""
        number = {character: i for i, character in enumerate(vocabulary.characters)}
        tokens: list[int] = []
        rest_at = None
        for offset, piece in self.pieces:
            if isinstance(piece, Gap):
                tokens += [vocabulary.mask_id] * (piece.size or 0)
                rest_at = len(tokens) if piece.size is None else rest_at
            elif piece in number:
                tokens.append(number[piece])
            elif unknown == "mask":
                tokens.append(vocabulary.mask_id)
            elif unknown == "error":
                raise _unknown_character(piece, offset, number)
        return tokens, len(tokens) if rest_at is None else rest_at


def _scan(text: str) -> Iterator[tuple[int, str | Gap]]:
    offset = 0
    for mark in MARK.finditer(text):
        yield from enumerate(text[offset : mark.start()], offset)
        yield mark.start(), ESCAPES.get(mark[0]) or _gap(mark[0])
        offset = mark.end()
    yield from enumerate(text[offset:], offset)


def _gap(written: str) -> Gap:
    if written == "[*]":
        return Gap(None)
    digits = written[1:-1].lstrip("0")
    if not digits:
        raise ConfigError(r"sampling.prompt has a gap of no characters, [0]; give [1] or more, or write \[0] for plain characters")
    if len(digits) > len(str(LONGEST)) or int(digits) > LONGEST:
        raise ConfigError(f"sampling.prompt has a gap of more than {LONGEST:,} characters, [{shortened(digits, 15)}]; give fewer")
    return Gap(int(digits))


def _too_long(T: int, name: str, limit: int | None) -> ConfigError:
    asked = f"sampling.prompt spans {T} characters, gaps included, which" if name == "sampling.prompt" else f"{name}={T}"
    if limit is None:
        return ConfigError(f"{asked} is more than can be generated at once; give at most {LONGEST}")
    return ConfigError(f"{asked} is more than the model's block_size={limit}; give at most {limit}, or {BEYOND}")


def _does_not_fit(has: int, T: int, name: str, needed: int, limit: int | None) -> ConfigError:
    fault = f"more than the {T} of {name}" if has > T else f"which leaves nothing of {name}={T} to generate"
    longer = f"give sampling.length={needed} or more" + ("" if limit is None or needed <= limit else f" with {BEYOND}")
    return ConfigError(f"sampling.prompt has {has} characters, {fault}; shorten it, or {longer}")


def _unknown_character(character: str, offset: int, known: Container[str]) -> DataError:
    alike = PLAIN.get(character), unicodedata.normalize("NFKD", character)[0], character.swapcase()
    mend = next((f"write {other!r}" for other in alike if other is not None and other in known), "leave it out")
    return DataError(
        f"sampling.prompt has {character!r} (U+{ord(character):04X}) at offset {offset:,}, which is not in the model's vocabulary; {mend}, "
        f"or give sampling.unknown=mask to have another character generated there, or sampling.unknown=drop to leave out all such"
    )
