"""Any text of the user's: a UTF-8 file, or a folder of such files, compressed with gzip or not."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from masklab.errors import DataError
from masklab.text.sources.origin import TextOrigin, required

BYTE_ORDER_MARK = "\ufeff"
LARGEST_FILE = 1 << 32
"""Bytes of a file, and of what it unpacks to: a few megabytes of gzip can unpack to more than fits in memory."""
MOST_FILES = 100_000
"""Files of a folder: beyond it the folder is hardly meant."""


class TextFile(TextOrigin):
    """A file, or all the files of a folder in the order of their names, with a blank line between them."""

    source: Literal["text"] = "text"
    """Kind of source."""
    path: str | None = None
    """The file or folder; names that end in `.gz` are decompressed, hidden files are passed over."""

    @field_validator("path")
    @classmethod
    def _path_is_needed(cls, path: str | None) -> str:
        return required(path, "text", "FILE or dataset.path=FOLDER")

    def state(self) -> str:
        assert self.place
        return files_state(text_files(self.place), self.place)

    def text(self, folder: Path) -> str:
        """The files' text. Line ends stay as they are; a byte order mark at a file's start is dropped."""
        assert self.place
        return joined(read_text(file) for file in text_files(self.place))


def text_files(place: Path) -> list[Path]:
    """The file `place`, or the files under the folder `place` by name. Raises DataError when there are none."""
    if place.is_file():
        return [place]
    if place.is_dir():
        visible = (f for f in place.rglob("*") if f.is_file() and not any(part.startswith(".") for part in f.relative_to(place).parts))
        found = list(islice(visible, MOST_FILES + 1))
        if len(found) > MOST_FILES:
            raise DataError(f"{place}: the folder holds more than {MOST_FILES:,} files; give one of texts as dataset.path")
        if found:
            return sorted(found, key=lambda file: file.relative_to(place).as_posix())
        raise DataError(f"{place}: the folder holds no files; put text files in it or give another dataset.path")
    if place.exists():
        raise DataError(f"{place}: neither a file nor a folder; give a text file as dataset.path")
    raise DataError(f"{place}: no such file or folder; correct dataset.path")


def files_state(files: list[Path], base: Path) -> str:
    """A hash of the names below `base`, sizes and times of change of `files`. Raises DataError when one cannot be looked at."""
    sha = hashlib.sha256()
    for file in files:
        try:
            stat = file.stat()
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); correct dataset.path or the file's permissions") from error
        sha.update(f"{file.relative_to(base).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return sha.hexdigest()


def read_bytes(file: Path) -> bytes:
    """The content of `file`, decompressed when its name ends in `.gz`. Raises DataError when it cannot be read."""
    content = plain_bytes(file)
    if file.suffix.lower() != ".gz":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacked:
            content = unpacked.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{file}: is damaged or not compressed with gzip ({error}); compress it again or drop the .gz from its name"
        ) from error
    if len(content) > LARGEST_FILE:
        raise DataError(f"{file}: unpacks to more than {LARGEST_FILE:,} bytes; split it into several files")
    return content


def plain_bytes(file: Path) -> bytes:
    """The content of `file` as it is. Raises DataError when it cannot be read, is a pipe or a device, or is too large."""
    try:
        if not file.is_file():  # reading a pipe or a device might never end
            raise DataError(f"{file}: {'is not a plain file' if file.exists() else 'no such file'}; correct dataset.path")
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1) if os.fstat(opened.fileno()).st_size <= LARGEST_FILE else None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); correct dataset.path or the file's permissions") from error
    if content is None or len(content) > LARGEST_FILE:
        raise DataError(f"{file}: has more than {LARGEST_FILE:,} bytes; split it into several files")
    return content


def read_text(file: Path) -> str:
    """The characters of `file`. Raises DataError with the byte offset of what is not UTF-8."""
    content = read_bytes(file)
    try:
        return content.decode("utf-8").removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: invalid UTF-8 at byte offset {error.start:,} (0x{content[error.start]:02X}); convert the file to UTF-8"
        ) from error


def joined(parts: Iterator[str]) -> str:
    """The texts `parts` that are not empty, with a blank line between them."""
    texts = [part for part in parts if part]
    ends = ["" if text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n" for text in texts[:-1]]
    return "".join(text + end for text, end in zip(texts, [*ends, ""], strict=False))
