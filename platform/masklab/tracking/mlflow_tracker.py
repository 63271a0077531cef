"""A run's figures and files on their way to MLflow: into the spool at once, and from there to the server by a thread.

Training waits for neither. What the server has not taken when the run ends stays in the run's folder for the next part of the run, or
for `make sync`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from masklab.io.redaction import redact
from masklab.tracking.mlflow_run import DESCRIPTION_TAG, TAG_LENGTH, RunHandle, milliseconds
from masklab.tracking.params import flat_params
from masklab.tracking.spool.record import Artifact, Metrics, Params, Record, StatusChange, Tags, Text
from masklab.tracking.spool.sender import SpoolSender, Target
from masklab.tracking.spool.spool import Spool, SpoolWriter
from masklab.tracking.tracker import LoggedSteps, Status

_log = logging.getLogger(__name__)


class MlflowTracker:
    """A Tracker of the run `handle`. `writer` names this process in the spool; `lost` counts records that no disk would take.

    `finish_seconds` bounds how long `finish` waits for what is still to be sent. `report` takes a failure in words, once.
    """

    def __init__(self, handle: RunHandle, writer: str, finish_seconds: float = 60.0, report: Callable[[str], None] = _log.warning) -> None:
        assert handle.folder, "a run's figures wait in its folder"
        self.lost = 0
        self._folder, self._finish_seconds, self._report = handle.folder, finish_seconds, report
        spool = Spool(handle.folder)
        steps = spool.steps()
        self.logged = LoggedSteps.of(steps) if steps else handle.logged
        self._writer = SpoolWriter(spool, writer)
        self._sender = SpoolSender(handle.store, report) if handle.store else None
        if self._sender:
            self._sender.take(Target(spool, handle.run_id, self._writer))

    @property
    def failures(self) -> int:
        """How often the store took nothing."""
        return self._sender.failures if self._sender else 0

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep figures at iteration `step`."""
        self._add(Metrics(at=milliseconds(), step=step, values={name: float(value) for name, value in metrics.items()}))

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep parameters, flattened."""
        self._add(Params(at=milliseconds(), values=flat_params(params)))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file or folder of the run's folder, as it is when it is sent. Raises ValueError for one that lies elsewhere."""
        self._add(Artifact(at=milliseconds(), path=str(path.resolve().relative_to(self._folder.resolve())), folder=folder))

    def log_text(self, text: str, name: str) -> None:
        """Keep `text` as the artifact `name`."""
        self._add(Text(at=milliseconds(), name=name, text=redact(text)))

    def describe(self, markdown: str) -> None:
        """Replace the description."""
        self._add(Tags(at=milliseconds(), values={DESCRIPTION_TAG: redact(markdown)[:TAG_LENGTH]}))

    def set_status(self, status: Status) -> None:
        """Set the run's status ahead of its end."""
        self._add(StatusChange(at=milliseconds(), status=status))

    def finish(self, status: Status | None = None, seconds: float | None = None) -> None:
        """Set the run's status if one is given, and send what is left, within the time limit. What cannot be sent stays in the spool."""
        if status is not None:
            self.set_status(status)
        if self._sender:
            self._sender.close(self._finish_seconds if seconds is None else seconds)
        own = self._writer.file
        self._writer.close()
        if own and not any(own.waiting()):
            own.drop()

    def _add(self, record: Record) -> None:
        try:
            self._writer.add(record)
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                self._report(f"{self._folder}: figures for MLflow cannot be kept ({error.strerror or error}); the run goes on without them")
        if self._sender:
            self._sender.wake()
