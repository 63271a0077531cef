"""A file that appears whole or not at all, whoever else is writing it at the same time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from masklab.errors import DataError
from masklab.failpoints import failpoint

UNFINISHED = ".*.tmp"
"""Names of files that were being written when their writer was killed."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, to be written by the caller; it takes the place of `path` when the block ends well.

    Folders are made as needed. Raises DataError when the file cannot be written; then nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        failpoint("file.written")
        temporary.replace(path)
        failpoint("file.in_place")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); free the place or set MASKLAB_HOME to another") from error
    finally:
        with suppress(OSError):  # there is none after success, nor where the place is no folder
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write the whole text file `path`. Raises DataError when it cannot be written; then what was there stays."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
