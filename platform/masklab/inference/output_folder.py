"""A new folder beside earlier ones: 001, 002 and so on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from masklab.errors import RunError


@contextmanager
def numbered_folder(parent: Path) -> Iterator[Path]:
    """The next free number in `parent`, made now, so that nothing is ever overwritten; an empty one is taken away in the end.

    Raises RunError when it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name) for path in parent.iterdir() if path.name.isdecimal()]
        folder = _first_free(parent, max(taken, default=0) + 1)
    except OSError as error:
        raise RunError(f"{parent}: no folder can be made there ({error.strerror or error}); give another with output=FOLDER") from error
    try:
        yield folder
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _first_free(parent: Path, number: int) -> Path:
    for n in count(number):
        folder = parent / f"{n:03d}"
        with suppress(FileExistsError):  # made by another job meanwhile
            folder.mkdir()
            return folder
    raise AssertionError
