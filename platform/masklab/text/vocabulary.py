"""A character vocabulary: every character of a text has a number, and the special tokens come after them, mask first.

Shapes: N characters or tokens, V characters in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.errors import DataError

SPECIAL_TOKENS = ("[MASK]", "[PAD]", "[CLS]", *(f"[RESERVED_{i}]" for i in range(5)))
"""Tokens that are not characters, in the order of their numbers V, V+1, ..."""
ROUND_TO = 16
"""Tables indexed by tokens have a multiple of this many rows, which matrix hardware likes."""
MASK_SIGN, SPECIAL_SIGN = "\u2581", "\ufffd"
CHUNK = 1 << 24
"""Characters encoded at once: bounds the memory for code points, four bytes each."""


@dataclass(frozen=True)
class Vocabulary:
    """The V characters of a text, sorted by code point; character number i is token i."""

    characters: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.characters:
            raise DataError("a vocabulary needs at least one character; the text is empty")
        if wrong := [c for c in self.characters if len(c) != 1]:
            raise DataError(f"a vocabulary holds single characters, and {wrong[0]!r} is not one")
        if any(a >= b for a, b in zip(self.characters, self.characters[1:], strict=False)):
            raise DataError("the characters of a vocabulary must be sorted by code point, each once")
        if self.extended_size > 1 << 16:
            most = (1 << 16) - len(SPECIAL_TOKENS)
            raise DataError(f"the text has {self.size:,} different characters; 16-bit tokens allow {most:,}: give a text of fewer scripts")

    @classmethod
    def of_text(cls, text: str) -> Self:
        return cls(tuple(sorted(set(text))))

    @property
    def size(self) -> int:
        return len(self.characters)

    @property
    def mask_id(self) -> int:
        """The token of the absorbing state."""
        return self.size

    @property
    def pad_id(self) -> int:
        """The token that fills up short sequences."""
        return self.size + 1

    @property
    def cls_id(self) -> int:
        """The token whose output represents a whole sequence."""
        return self.size + 2

    @property
    def extended_size(self) -> int:
        """Characters and special tokens together, rounded up to a multiple of 16."""
        return -(-(self.size + len(SPECIAL_TOKENS)) // ROUND_TO) * ROUND_TO

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds every token, special ones included."""
        return np.dtype(np.uint8 if self.extended_size <= 1 << 8 else np.uint16)

    def encode(self, text: str) -> NDArray[Any]:
        """Tokens (N,) of `text`. Raises DataError that names the first character which is not in the vocabulary."""
        out = np.empty(len(text), self.dtype)
        for start in range(0, len(text), CHUNK):
            codes = np.frombuffer(text[start : start + CHUNK].encode("utf-32-le", "surrogatepass"), np.uint32)
            numbers = self._numbers[np.minimum(codes, len(self._numbers) - 1)]
            unknown = numbers == self.size
            if unknown.any():
                offset = start + int(unknown.argmax())
                character = text[offset]
                raise DataError(
                    f"character {character!r} (U+{ord(character):04X}) at offset {offset:,} is not among the {self.size} characters of the "
                    f"vocabulary; leave it out, or prepare a corpus that has it"
                )
            out[start : start + CHUNK] = numbers
        return out

    def decode(self, ids: Any) -> str:
        """The text of the tokens `ids` (N,): a mask shows as "▁", any other special token as "�"."""
        codes: NDArray[np.uint32] = self._codes[np.asarray(ids, np.int64)]
        return codes.tobytes().decode("utf-32-le", "surrogatepass")

    def to_json(self) -> dict[str, Any]:
        return {"characters": list(self.characters), "special_tokens": list(SPECIAL_TOKENS)}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The vocabulary that `to_json` wrote. Raises DataError for anything else."""
        characters = value.get("characters") if isinstance(value, dict) else None
        if not isinstance(characters, list) or not all(isinstance(c, str) for c in characters):
            raise DataError("a stored vocabulary must have a list 'characters'; the file is damaged or was made by another program")
        if value.get("special_tokens") != list(SPECIAL_TOKENS):
            raise DataError("a stored vocabulary has other special tokens than this version of masklab; prepare the corpus again")
        return cls(tuple(characters))

    @cached_property
    def _numbers(self) -> NDArray[np.uint32]:
        codes = self._codes[: self.size]
        numbers = np.full(int(codes[-1]) + 2, self.size, np.uint32)
        numbers[codes] = np.arange(self.size)
        return numbers

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        specials = MASK_SIGN + SPECIAL_SIGN * (self.extended_size - self.size - 1)
        shown = "".join(self.characters) + specials
        return np.frombuffer(shown.encode("utf-32-le", "surrogatepass"), np.uint32)
