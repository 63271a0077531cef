"""Files that appear whole or not at all, even when several processes write them at the same time."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from masklab.errors import DataError
from masklab.failpoints import failpoint

UNFINISHED = ".*.tmp"
"""Pattern of the names of files whose writer was killed while it wrote them."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, for the caller to write; when the block ends without an error it replaces `path`.

    Missing folders are made. Raises DataError when the file cannot be written; then nothing is left behind.
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
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}); free the path or set MASKLAB_HOME to another folder"
        ) from error
    finally:
        with suppress(OSError):  # it is gone after success, and missing where the parent is not a folder
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write the text file `path` as a whole. Raises DataError when it cannot be written; then an older file stays as it was."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
