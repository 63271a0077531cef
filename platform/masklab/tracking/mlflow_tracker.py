"""The MLflow tracker: a record is appended to the run's spool immediately, and a thread sends the spool to the server.

What the server has not accepted when the run ends stays in the run's folder for the next part of the run, or for `make sync`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from masklab.io.redaction import redact
from masklab.tracking.mlflow_run import DESCRIPTION_TAG, TAG_LENGTH, RunHandle, milliseconds
from masklab.tracking.spool.record import Artifact, Metrics, Record, StatusChange, Tags, Text
from masklab.tracking.spool.sender import SpoolSender, Target
from masklab.tracking.spool.spool import Spool, SpoolWriter
from masklab.tracking.tracker import LoggedSteps, Status

_log = logging.getLogger(__name__)


class MlflowTracker:
    """The Tracker of the run `handle`. `writer` names this process in the spool; `lost` counts records that could not be written to disk.

    `finish` waits at most `finish_seconds`. `report` receives the first failure of the disk and the first of the server.
    """

    def __init__(self, handle: RunHandle, writer: str, finish_seconds: float = 60.0, report: Callable[[str], None] = _log.warning) -> None:
        self.lost = 0
        self._folder, self._finish_seconds, self._report = handle.folder, finish_seconds, report
        spool = Spool(handle.folder)
        steps = spool.steps()
        self.logged = LoggedSteps.of(steps) if steps else handle.logged
        self._writer = SpoolWriter(spool, writer)
        self._sender = SpoolSender(handle.store, report) if handle.store else None
        if self._sender:
            self._sender.add(Target(spool, handle.run_id, self._writer))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._add(Metrics(at=milliseconds(), step=step, values={name: float(value) for name, value in metrics.items()}))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file or folder as it is when it is sent. Raises ValueError for a path outside the run's folder."""
        self._add(Artifact(at=milliseconds(), path=str(path.resolve().relative_to(self._folder.resolve())), folder=folder))

    def log_text(self, text: str, name: str) -> None:
        self._add(Text(at=milliseconds(), name=name, text=redact(text)))

    def describe(self, markdown: str) -> None:
        self._add(Tags(at=milliseconds(), values={DESCRIPTION_TAG: redact(markdown)[:TAG_LENGTH]}))

    def set_status(self, status: Status) -> None:
        self._add(StatusChange(at=milliseconds(), status=status))

    def finish(self, status: Status | None = None, seconds: float | None = None) -> None:
        if status is not None:
            self.set_status(status)
        if self._sender:
            self._sender.close(self._finish_seconds if seconds is None else seconds)
        own = self._writer.file
        self._writer.close()
        if own and not any(own.pending()):
            own.drop()

    def _add(self, record: Record) -> None:
        try:
            self._writer.add(record)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                reason = error.strerror or error
                self._report(f"{self._folder}: metrics for MLflow cannot be written ({reason}); training continues without them")
        if self._sender:
            self._sender.wake()
