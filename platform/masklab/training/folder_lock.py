"""Locks on a run's folder. They end with the process that holds them, however it ends.

`at_work` is shared by all processes that write into the folder; `alone` excludes them. The workers of a killed driver go on writing for
some seconds, and the next driver waits for them. `driving` is held by one command from the first file to the last; a second command is
refused at once.
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
"""Default seconds to wait for a folder: workers that have lost their driver end sooner."""

LONGEST_OWNER = 100
"""Most characters of the owner's description."""


@contextmanager
def alone(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Lock the existing `folder` for this process alone. Raises RunError if others are at work there for `patience` seconds."""
    with _locked(folder, patience, shared=False):
        yield


def wait_until_left(folder: Path, patience: float = PATIENCE) -> None:
    """Return once no process is at work in `folder`. Raises RunError after `patience` seconds."""
    with alone(folder, patience):
        pass


@contextmanager
def at_work(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold `folder` together with other processes at work. Raises RunError if one is alone there for `patience` seconds."""
    with _locked(folder, patience, shared=True):
        yield


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Lock the run in the existing `folder` for this command. Raises RunError, naming the process, if another command has it."""
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
    """Raise RunError if a command has the run in `folder`, which need not exist. Writes nothing."""
    if not HAS_LOCKS or not (folder / DRIVER).is_file():
        return
    with _opened(folder / DRIVER) as file:
        _take(file, folder)


def _take(file: TextIO, folder: Path) -> None:
    if lock(file) is False:
        file.seek(0)
        who = readable(file.read(LONGEST_OWNER)) or "another process"
        raise RunError(f"run '{folder.name}' is under way: {who} has {folder}; wait for it to end, or use another run.name")


def _opened(path: Path) -> TextIO:
    """The lock file, created if missing. Raises RunError if it is a link or cannot be created."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = "is a link, but a lock must be in the run's own folder" if path.is_symlink() else f"cannot be opened ({error.strerror})"
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
                raise RunError(f"run folder {folder}: another process is at work there; wait for it to end, or use another run.name")
            time.sleep(0.1)
        yield
