"""A new SQLite store of MLflow's: there with all its tables, or not at all.

MLflow makes dozens of tables one after another. A process killed in between would leave a file that no later one can use.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path


def make_database(path: Path, fill: Callable[[str], object]) -> None:
    """Let `fill` make the tables of the store at a URI of its own, and then put the file at `path`, unless one has come there meanwhile.

    Raises OSError where the folder cannot be written, and whatever `fill` raises; then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        fill(f"sqlite:///{temporary}")
        with closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(FileExistsError):  # another driver was first
            os.link(temporary, path)
    finally:
        for file in (temporary, *(temporary.with_name(temporary.name + ending) for ending in ("-wal", "-shm", "-journal"))):
            file.unlink(missing_ok=True)
