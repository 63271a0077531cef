"""Locks on a run's folder, which end with the process that holds them, whatever ends that.

Whoever writes into a folder is `at_work` there; who wants it to himself is `alone`. A driver that is killed leaves its workers behind
for some seconds, in which they still write: the next driver waits for them. For another driver nobody waits: who is `driving` a run has
it from the first file to the last, and a second command is refused at once.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from masklab.errors import RunError
from masklab.io.file_lock import HAS_LOCKS, lock
from masklab.text.labels import readable

FILE = ".lock"
DRIVER = ".driver"
PATIENCE = 60.0
"""Seconds for which a folder is waited for, unless told otherwise: workers that have lost their driver end sooner."""

LONGEST_OWNER = 100
"""Characters of what the owner says of itself."""


@contextmanager
def alone(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Have `folder`, which must be there, for one process. Raises RunError when another one is at work there for `patience` seconds."""
    with _locked(folder, patience, shared=False):
        yield


def wait_until_left(folder: Path, patience: float = PATIENCE) -> None:
    """Return once nobody is at work in `folder`. Raises RunError when somebody still is after `patience` seconds."""
    with alone(folder, patience):
        pass


@contextmanager
def at_work(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Keep others from being alone in `folder`. Raises RunError when one is for `patience` seconds."""
    with _locked(folder, patience, shared=True):
        yield


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Have the run in `folder`, which must be there, for this command. Raises RunError, naming the process, when another one has it."""
    if not HAS_LOCKS:
        yield
        return
    with _opened(folder / DRIVER) as file:
        _take(file, folder)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
        file.truncate(0)


def refuse_if_driven(folder: Path) -> None:
    """Raise RunError when a command has the run in `folder`, which need not be there. Nothing is written."""
    if not HAS_LOCKS or not (folder / DRIVER).is_file():
        return
    with _opened(folder / DRIVER) as file:
        _take(file, folder)


def _take(file: TextIO, folder: Path) -> None:
    """Lock the driver's `file`. Raises RunError when another process has it."""
    if lock(file) is False:
        file.seek(0)
        who = readable(file.read(LONGEST_OWNER)) or "another process"
        raise RunError(f"run '{folder.name}' is under way: {who} has {folder}; wait for its end, or use another run.name")


def _opened(path: Path) -> TextIO:
    """The file of a lock, made where it is missing. Raises RunError where it is a link, or cannot be made."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = "is a link, and what lies elsewhere is left alone" if path.is_symlink() else f"cannot be opened ({error.strerror})"
        raise RunError(f"{path}: {reason}; remove it, or use another run.name") from error
    return os.fdopen(descriptor, "a+", encoding="utf-8", errors="replace")


@contextmanager
def _locked(folder: Path, patience: float, *, shared: bool) -> Iterator[None]:
    if not HAS_LOCKS:
        yield
        return
    deadline = time.monotonic() + patience
    with _opened(folder / FILE) as file:
        while lock(file, shared=shared) is False:
            if time.monotonic() > deadline:
                raise RunError(f"run folder {folder}: another process is at work there; wait for its end, or use another run.name")
            time.sleep(0.1)
        yield
