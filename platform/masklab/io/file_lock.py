"""Advisory locks on open files (`flock`). A lock ends with the process that holds it, even when that is killed."""

from __future__ import annotations

import sys
from typing import IO, Any

HAS_LOCKS = sys.platform != "win32"
"""Windows has no `flock`; there nothing is locked."""


def lock(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock `file` until it is closed: for this process alone, or `shared` with others that share it.

    Returns False where another process holds it, unless told to `wait`; None where the system or the file system has no such locks.
    On NFS a shared lock needs a file that is open for reading, an exclusive one a file that is open for writing.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
