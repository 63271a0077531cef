"""A folder that nanoGPT's `prepare.py` made for characters: `train.bin`, `val.bin` and `meta.pkl`.

Shapes: N tokens of a split, V characters of the vocabulary.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, Literal, Never

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from masklab.errors import DataError, one_line, shown
from masklab.text.sources.origin import PlainOrigin, Splits, required
from masklab.text.sources.text_file import files_state, plain_bytes
from masklab.text.vocabulary import Vocabulary

FILES = ("train.bin", "val.bin", "meta.pkl")
LARGEST_META = 1 << 24
"""Bytes: a vocabulary of all of Unicode is smaller."""
NUMBERS = ("INT", "BININT", "LONG", "LONG1", "LONG4")
"""What a pickle spells large numbers with; whatever else has a number in it means a length or a place."""


class NanoGPT(PlainOrigin):
    """Tokens and vocabulary as nanoGPT wrote them, with the split that it made."""

    source: Literal["nanogpt"] = "nanogpt"
    """Kind of source."""
    path: str | None = None
    """The folder."""

    @field_validator("path")
    @classmethod
    def _path_is_needed(cls, path: str | None) -> str:
        return required(path, "nanogpt", "FOLDER, which holds train.bin, val.bin and meta.pkl")

    def state(self) -> str:
        return files_state(self._files(), self._folder())

    def splits(self, validation_fraction: float, folder: Path) -> Splits:
        """The two splits as they are: `validation_fraction` is for texts that have not been split yet."""
        train, validation, meta = self._files()
        characters = _characters(meta)
        vocabulary = Vocabulary(tuple(sorted(characters)))
        numbers = vocabulary.encode("".join(characters))
        return Splits(_tokens(train, numbers), _tokens(validation, numbers), vocabulary)

    def _folder(self) -> Path:
        assert self.place
        return self.place

    def _files(self) -> list[Path]:
        folder = self._folder()
        if not folder.is_dir():
            problem = "is not a folder" if folder.exists() else "no such folder"
            raise DataError(f"{folder}: {problem}; give the folder with train.bin, val.bin and meta.pkl as dataset.path")
        files = [folder / name for name in FILES]
        for file in files:
            if not file.is_file():
                hint = "without it the tokens are those of a sub-word vocabulary; " if file.name == "meta.pkl" else ""
                raise DataError(f"{file}: no such file; {hint}prepare a character-level folder with nanoGPT, or use dataset=text")
        return files


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, strings and containers; names no class or function, so nothing can run."""

    def find_class(self, module: str, name: str) -> Never:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and a vocabulary needs no code")


def _refuse_far_memos(content: bytes) -> None:
    """Raise UnpicklingError for a number of a remembered value that is beyond all of them: a table as long as it would be made first."""
    for opcode, argument, _ in pickletools.genops(content):
        if isinstance(argument, int) and argument > LARGEST_META and opcode.name not in NUMBERS:
            raise pickle.UnpicklingError(f"it holds the number {argument}, and no vocabulary has so many characters")


def _characters(meta: Path) -> list[str]:
    """The character of each token (V,), from `itos`. Raises DataError when the file is not a character vocabulary."""
    content = plain_bytes(meta)
    if len(content) > LARGEST_META:
        raise DataError(f"{meta}: {len(content):,} bytes are too many for a vocabulary; prepare the folder again")
    try:
        _refuse_far_memos(content)
        table = _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        # a pickle that is damaged, or made to harm, can fail in any way
        raise DataError(f"{meta}: refused ({one_line(error) or type(error).__name__}); prepare the folder again") from error
    itos = table.get("itos") if isinstance(table, dict) else None
    if not isinstance(itos, dict) or not itos:
        raise DataError(f"{meta}: holds no table 'itos' of characters; prepare a character-level folder with nanoGPT, or use dataset=text")
    if any(type(key) is not int for key in itos) or sorted(itos) != list(range(len(itos))):
        raise DataError(f"{meta}: the tokens of 'itos' are not numbered 0 to {len(itos) - 1}; prepare the folder again")
    characters = [itos[i] for i in range(len(itos))]
    for i, character in enumerate(characters):
        if not isinstance(character, str) or len(character) != 1:
            is_short = isinstance(character, str) or (type(character) is int and abs(character) < 1 << 64)
            what = shown(character) if is_short else f"a {type(character).__name__}"
            raise DataError(f"{meta}: token {i} is {what}, not a single character; only character vocabularies can be read")
    inverse = {character: i for i, character in enumerate(characters)}
    if len(inverse) != len(itos) or table.get("stoi", inverse) != inverse or table.get("vocab_size", len(itos)) != len(itos):
        raise DataError(f"{meta}: 'itos' has a character twice, or disagrees with 'stoi' or 'vocab_size'; prepare the folder again")
    return characters


def _tokens(file: Path, numbers: NDArray[Any]) -> NDArray[Any]:
    """The tokens (N,) of `file`, renumbered by `numbers` (V,). Raises DataError when they do not fit the vocabulary."""
    content = plain_bytes(file)
    if not content:
        raise DataError(f"{file}: the split is empty; prepare the folder again from a longer text")
    if len(content) % 2:
        raise DataError(f"{file}: {len(content):,} bytes are not a whole number of 16-bit tokens; the file is cut short: prepare it again")
    stored = np.frombuffer(content, "<u2")
    if (outside := stored >= len(numbers)).any():
        where = int(outside.argmax())
        raise DataError(f"{file}: token {stored[where]} at place {where:,} is outside meta.pkl's vocabulary of {len(numbers)} characters")
    tokens: NDArray[Any] = numbers[stored]
    return tokens
