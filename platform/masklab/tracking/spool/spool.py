"""A run's records for MLflow, kept in its folder until they are delivered: append-only files, one per process.

spool/000001-driver.jsonl   one record per line: checksum, space, JSON
spool/000001-driver.sent    its committed offset; stays when the file itself is deleted

A line has reached the operating system when the call that adds it returns, so a killed process loses nothing. It is not flushed to the
disk: a power failure may lose the last seconds, as it loses the steps since the newest checkpoint. A line that was cut off, e.g. by a
full disk, fails its checksum and is skipped.

A process locks its file as long as it lives. Another process that gets the lock may send what a dead process left.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from masklab.io.atomic_file import write_text
from masklab.io.file_lock import lock
from masklab.tracking.spool.record import CreateRun, DeliveryState, Entry, Metrics, Record, StatusChange, parse_record

FOLDER, LINES, SENT = "spool", ".jsonl", ".sent"


class LockOwner(Enum):
    """Who may hold the lock of a spool file, as far as the caller knows."""

    CALLER = "this process writes the file"
    ANYONE = "another process may write the file"
    NOBODY = "no other process uses the run's folder"


@dataclass(frozen=True)
class SpoolFile:
    """The file of one process; `path` is without its ending."""

    path: Path

    @property
    def lines(self) -> Path:
        return self.path.with_name(self.path.name + LINES)

    @property
    def sent(self) -> Path:
        return self.path.with_name(self.path.name + SENT)

    def state(self) -> DeliveryState:
        """The committed state; the initial one if it cannot be read, since a record that is sent twice is stored once."""
        try:
            return DeliveryState.model_validate_json(self.sent.read_bytes())
        except (OSError, ValidationError):
            return DeliveryState()

    def commit(self, state: DeliveryState) -> None:
        """Write the state. Raises DataError if the folder cannot be written."""
        write_text(self.sent, state.model_dump_json(exclude_defaults=True, by_alias=True))

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The complete lines from the byte `start` on. An unterminated line may still be being written."""
        with suppress(FileNotFoundError), self.lines.open("rb") as file:
            file.seek(start)
            while (line := file.readline()).endswith(b"\n"):
                if line != b"\n":
                    yield Entry(start, start + len(line), decoded(line))
                start += len(line)

    def entry_at(self, start: int) -> Entry | None:
        return next(self.entries(start), None)

    def pending(self) -> Iterator[Entry]:
        """The entries that are not delivered."""
        state = self.state()
        yield from self.entries(state.committed)
        yield from (entry for start in state.retry_offsets if (entry := self.entry_at(start)))

    def records(self) -> Iterator[Record]:
        return (entry.record for entry in self.entries() if entry.record is not None)

    @contextmanager
    def locked(self, owner: LockOwner) -> Iterator[bool]:
        """Keep others from sending this file. Yields whether the caller may send it: it owns the file, or nobody alive does."""
        if owner is LockOwner.CALLER:
            yield True
            return
        try:
            stream = self.lines.open("rb")
        except OSError:
            yield False
            return
        with stream:
            has_lock = lock(stream)
            yield owner is LockOwner.NOBODY if has_lock is None else has_lock

    def drop(self) -> None:
        """Delete the records, all of which are delivered."""
        with suppress(OSError):
            self.lines.unlink()


@dataclass(frozen=True)
class Spool:
    """The spool in the run folder `run`."""

    run: Path

    @property
    def folder(self) -> Path:
        return self.run / FOLDER

    def files(self) -> list[SpoolFile]:
        """All files, oldest first."""
        try:
            names = {path.name.removesuffix(path.suffix) for path in self.folder.iterdir() if path.suffix in (LINES, SENT)}
        except (FileNotFoundError, NotADirectoryError):
            return []
        if self.folder.is_symlink():
            return []
        return [SpoolFile(self.folder / name) for name in sorted(names) if name[:6].isdecimal()]

    @property
    def is_empty(self) -> bool:
        """Whether no records are left."""
        return not any(file.lines.exists() for file in self.files())

    def steps(self) -> dict[str, int]:
        """The last logged step of each metric, delivered or not."""
        found: dict[str, int] = {}
        for file in self.files():
            found |= file.state().steps
            for record in file.records():
                if isinstance(record, Metrics):
                    found |= dict.fromkeys(record.values, record.step)
        return found

    def status(self, after: SpoolFile | None = None) -> str | None:
        """The last logged status, delivered or not; with `after` only that of younger files."""
        last = None
        for file in self.files():
            if after is None or file.path.name > after.path.name:
                logged = [record.status for record in file.records() if isinstance(record, StatusChange)]
                last = logged[-1] if logged else file.state().status or last
        return last

    def pending_run(self) -> tuple[SpoolFile, Entry] | None:
        """The CreateRun entry, if it is not delivered."""
        found = ((file, entry) for file in self.files() for entry in file.pending() if isinstance(entry.record, CreateRun))
        return next(found, None)

    def created(self) -> DeliveryState:
        """The state with the id of the run that was created from this spool; the initial one if none was."""
        return next((state for file in self.files() if (state := file.state()).run_id), DeliveryState())

    def run_id(self) -> str:
        """The MLflow id of the run that was created from this spool; empty if none was."""
        return self.created().run_id or ""

    def key(self) -> str | None:
        """The key of this spool's CreateRun record, delivered or not."""
        keys = (record.key for file in self.files() for record in file.records() if isinstance(record, CreateRun))
        return next(keys, None) or self.created().key

    def pending(self) -> tuple[int, int]:
        """How many metric values and how many other records are not delivered."""
        records = [entry.record for file in self.files() for entry in file.pending() if entry.record]
        values = sum(len(record.values) for record in records if isinstance(record, Metrics))
        return values, sum(not isinstance(record, Metrics) for record in records)


class SpoolWriter:
    """Appends records to a file of its own in `spool`, from any thread. The file is created with the first record."""

    def __init__(self, spool: Spool, writer: str) -> None:
        self.spool, self._writer = spool, writer
        self.file: SpoolFile | None = None
        self._stream: IO[bytes] | None = None
        self._is_broken = False
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Append one record. Raises OSError if it cannot be written, e.g. on a full disk; earlier records stay intact."""
        line = encoded(record)
        with self._lock:
            stream = self._stream or self._opened()
            rest = memoryview(b"\n" + line if self._is_broken else line)
            self._is_broken = True  # until the whole line is written
            while rest:
                rest = rest[stream.write(rest) :]
            self._is_broken = False

    def close(self) -> None:
        """Release the file and its lock."""
        with self._lock:
            if self._stream:
                self._stream.close()
                self._stream = None

    def _opened(self) -> IO[bytes]:
        if self.spool.folder.is_symlink():
            raise NotADirectoryError(f"{self.spool.folder} is a symbolic link")
        self.spool.folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(file.path.name[:6]) for file in self.spool.files()), default=0)
        while True:
            self.file = SpoolFile(self.spool.folder / f"{number:06d}-{self._writer}")
            with suppress(FileExistsError):  # another process has created it meanwhile
                self._stream = self.file.lines.open("xb", buffering=0)
                lock(self._stream, wait=True)
                if os.fstat(self._stream.fileno()).st_nlink:  # 0 if it was deleted as the empty file of a dead process
                    return self._stream
                self._stream.close()
            number += 1


def encoded(record: Record) -> bytes:
    body = record.model_dump_json().encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decoded(line: bytes) -> Record | None:
    """The record of a line; None if the line is damaged."""
    body = line[9:].removesuffix(b"\n")
    try:
        return parse_record(body) if line[:9] == b"%08x " % zlib.crc32(body) else None
    except ValueError:
        return None
