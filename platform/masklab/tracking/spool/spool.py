"""What a run has for MLflow, kept in its folder until it has arrived: files that are only ever added to, one to a process.

spool/000001-driver.jsonl   a record to a line: a checksum, a blank, JSON
spool/000001-driver.sent    how much of it has arrived; stays when all has, and the file itself is gone

A line has reached the operating system when the call that adds it returns, so that the death of a process loses nothing that was handed
over. It is not forced onto the disk: a machine that loses its power may lose the last seconds, as it loses the steps since the newest
checkpoint. A line that is not whole, on a full disk for instance, is known by its checksum and passed over.

A process holds a lock on its file as long as it lives. Whoever else gets the lock may send what a dead process left.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from masklab.io.atomic_file import write_text
from masklab.io.file_lock import lock
from masklab.tracking.spool.offset import DeliveryState, Entry
from masklab.tracking.spool.record import CreateRun, Metrics, Record, StatusChange, record_of

FOLDER, LINES, SENT = "spool", ".jsonl", ".sent"


@dataclass(frozen=True)
class SpoolFile:
    """The file of one process, or what is left of it: `path` without its ending."""

    path: Path

    @property
    def lines(self) -> Path:
        """The records."""
        return self.path.with_name(self.path.name + LINES)

    @property
    def sent(self) -> Path:
        """What is known of those that have arrived."""
        return self.path.with_name(self.path.name + SENT)

    def arrival(self) -> DeliveryState:
        """How much has arrived; nothing where that cannot be read, since what is sent twice is kept once."""
        try:
            return DeliveryState.model_validate_json(self.sent.read_bytes())
        except (OSError, ValidationError):
            return DeliveryState()

    def note(self, arrival: DeliveryState) -> None:
        """Keep how much has arrived. Raises DataError where the folder cannot be written."""
        write_text(self.sent, arrival.model_dump_json(exclude_defaults=True))

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """The whole lines from the byte `start` on. A line without an end may still be being written and is left out."""
        with suppress(FileNotFoundError), self.lines.open("rb") as file:
            file.seek(start)
            while (line := file.readline()).endswith(b"\n"):
                if line != b"\n":
                    yield Entry(start, start + len(line), decoded(line))
                start += len(line)

    def entry_at(self, start: int) -> Entry | None:
        """The entry that begins at the byte `start`."""
        return next(self.entries(start), None)

    def waiting(self) -> Iterator[Entry]:
        """What has not arrived."""
        arrival = self.arrival()
        yield from self.entries(arrival.end)
        yield from (entry for start in arrival.behind if (entry := self.entry_at(start)))

    def records(self) -> Iterator[Record]:
        """All records that are still there, those that have arrived included."""
        return (entry.record for entry in self.entries() if entry.record is not None)

    @contextmanager
    def held(self, *, is_ours: bool, is_alone: bool = False) -> Iterator[bool]:
        """Keep others from sending this file. Yields whether it may be sent: it is ours, or nobody alive holds it.

        Where the system has no locks, nobody does if the caller `is_alone` in the folder.
        """
        if is_ours:
            yield True
            return
        try:
            stream = self.lines.open("rb")
        except OSError:
            yield False
            return
        with stream:
            has_lock = lock(stream)
            yield is_alone if has_lock is None else has_lock

    def drop(self) -> None:
        """Take the records away, all of which have arrived."""
        with suppress(OSError):
            self.lines.unlink()


@dataclass(frozen=True)
class Spool:
    """The spool in the run folder `run`."""

    run: Path

    @property
    def folder(self) -> Path:
        """Where the files lie."""
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
        """Whether nothing waits here."""
        return not any(file.lines.exists() for file in self.files())

    def steps(self) -> dict[str, int]:
        """The step at which each metric was handed over last."""
        found: dict[str, int] = {}
        for file in self.files():
            found |= file.arrival().steps
            for record in file.records():
                if isinstance(record, Metrics):
                    found |= dict.fromkeys(record.values, record.step)
        return found

    def status(self, after: SpoolFile | None = None) -> str | None:
        """The last status that was handed over, or the last in a file that is younger than `after`."""
        last = None
        for file in self.files():
            if after and file.path.name <= after.path.name:
                continue
            last = file.arrival().status or last
            for record in file.records():
                last = record.status if isinstance(record, StatusChange) else last
        return last

    def declaration(self) -> tuple[SpoolFile, Entry] | None:
        """The run that is to be made, if its making still waits."""
        for file in self.files():
            for entry in file.waiting():
                if isinstance(entry.record, CreateRun):
                    return file, entry
        return None

    def made(self) -> DeliveryState | None:
        """What was noted of the run when it was made by its declaration."""
        return next((arrival for file in self.files() if (arrival := file.arrival()).run_id), None)

    def key(self) -> str | None:
        """The key of the run that was declared here, made or not."""
        declared = next((r.key for file in self.files() for r in file.records() if isinstance(r, CreateRun)), None)
        made = self.made()
        return declared or (made.key if made else None)

    def waiting(self) -> tuple[int, int]:
        """How many figures wait, and how many files and other things."""
        records = [entry.record for file in self.files() for entry in file.waiting() if entry.record]
        figures = sum(len(record.values) for record in records if isinstance(record, Metrics))
        return figures, sum(not isinstance(record, Metrics) for record in records)


class SpoolWriter:
    """Adds records to a file of its own in `spool`, from any thread. The file is made with the first of them."""

    def __init__(self, spool: Spool, writer: str) -> None:
        self.spool, self._writer = spool, writer
        self.file: SpoolFile | None = None
        self._stream: IO[bytes] | None = None
        self._is_broken = False
        self._lock = threading.Lock()

    def add(self, record: Record) -> None:
        """Add one record. Raises OSError where it cannot be written, as on a full disk; what was added before stays whole."""
        line = encoded(record)
        with self._lock:
            stream = self._stream or self._opened()
            rest = memoryview(b"\n" + line if self._is_broken else line)
            self._is_broken = True  # until all of the line is there
            while rest:
                rest = rest[stream.write(rest) :]
            self._is_broken = False

    def close(self) -> None:
        """Leave the file to others."""
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
            with suppress(FileExistsError):  # made by another process meanwhile
                self._stream = self.file.lines.open("xb", buffering=0)
                lock(self._stream, wait=True)
                if os.fstat(self._stream.fileno()).st_nlink:  # else it was taken for one that a dead process left, and is gone
                    return self._stream
                self._stream.close()
            number += 1


def encoded(record: Record) -> bytes:
    """A record as its line."""
    body = record.model_dump_json().encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decoded(line: bytes) -> Record | None:
    """The record of a line; None where the line is damaged."""
    body = line[9:].removesuffix(b"\n")
    try:
        return record_of(body) if line[:9] == b"%08x " % zlib.crc32(body) else None
    except ValueError:
        return None
