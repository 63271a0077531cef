"""Locks on a run's folder, which end with the process that holds them, whatever ends that.

Whoever writes into a folder is `at_work` there; who wants it to himself is `alone`. A driver that is killed leaves its workers behind
for some seconds, in which they still write: the next driver waits for them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from masklab.errors import RunError

FILE = ".lock"
PATIENCE = 60.0
"""Seconds for which a folder is waited for, unless told otherwise: workers that have lost their driver end sooner."""


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
def _locked(folder: Path, patience: float, *, shared: bool) -> Iterator[None]:
    if sys.platform == "win32":  # which has no such locks; a run's folder is then the user's care
        yield
        return
    import fcntl

    deadline = time.monotonic() + patience
    with (folder / FILE).open("a+") as file:  # on NFS a shared lock needs a file that can be read, and an exclusive one that can be written
        while True:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunError(
                        f"run folder {folder}: another process is at work there; wait for its end, or use another run.name"
                    ) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks
                break
        yield
