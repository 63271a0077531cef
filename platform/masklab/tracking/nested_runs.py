"""The MLflow runs of a comparison or a sweep: a parent run, and a child run for each run that is trained.

The driver creates and ends all of them, one after another, since two processes must not create MLflow's tables at the same time. A child
that cannot be created or ended is reported once; training continues, and the run's folder is complete either way.

A driver may be killed at any moment. The next one finds the run that was being created by its key, which is in the folder before MLflow
has it, and corrects the status of the runs that were left RUNNING.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from masklab.errors import TrackingError
from masklab.tracking.metrics import value_metrics
from masklab.tracking.mlflow_run import PARENT_TAG, RunHandle, create_run_record, end_run, milliseconds, running_children
from masklab.tracking.mlflow_store import Store
from masklab.tracking.run_registration import RUN_ID, add_records, declare, opened_run, run_of
from masklab.tracking.spool.record import CreateRun, Metrics, Record, StatusChange, Tags
from masklab.tracking.spool.sender import SpoolSender, Target
from masklab.tracking.spool.spool import Spool
from masklab.tracking.spool.sync import print_pending
from masklab.tracking.tracker import Status
from masklab.training.run_folder import RunFolder

_log = logging.getLogger(__name__)
REPORTED = "reported"
"""Key of a parent's `run.json`: whether its results have been reported since its driver last started."""
CLOSING_SECONDS, STOPPED_SECONDS = 60.0, 5.0
"""How long `close` sends the rest, normally and after Ctrl-C. What is not sent by then stays in the spools."""


class NestedRuns:
    """The run `parent` and its children. Without a `store` their records wait in their folders."""

    def __init__(self, store: Store | None, folder: RunFolder, declared: CreateRun) -> None:
        """Create or resume the parent, the run of `folder`. Raises TrackingError if the store fails."""
        self.store, self.experiment = store, declared.experiment
        self.parent = opened_run(folder, store, declared)
        self._sender = SpoolSender(store, self._warn) if store else None
        self._has_warned = False

    @property
    def found_by(self) -> dict[str, str]:
        """The parent's run id and the command or address that shows it, for a JSON record; empty until the parent is created."""
        if self.store is None or not self.parent.run_id:
            return {}
        return {RUN_ID: self.parent.run_id, "browse": self.store.browse(self.parent.experiment_id, self.parent.run_id)}

    def child(self, folder: RunFolder, name: str, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> RunHandle:
        """Create or resume the child run of `folder`. If the store fails, the child is created later."""
        linked = {PARENT_TAG: self.parent.run_id, **tags}
        key = None if self.parent.run_id else Spool(self.parent.folder).key()
        declared = create_run_record(self.experiment, run_name=name, params=params, tags=linked, description=description, parent_key=key)
        try:
            handle = opened_run(folder, self.store, declared)
        except TrackingError as error:
            self._warn(f"{name} is not in MLflow yet: {error}")
            declare(folder, declared)
            handle = RunHandle(self.store, folder.path, run_of(folder))
        self._send(handle)
        return handle

    def settle(self, became: Mapping[RunFolder, str]) -> None:
        """End the children that an earlier driver left RUNNING, by what `became` of the run in each folder; before any run is trained."""
        running: list[str] = []
        try:
            if self.store and self.parent.run_id:
                running = running_children(self.store, self.parent)
                for run_id in set(running) - {folder.memory().get(RUN_ID) for folder in became}:
                    end_run(self.store, run_id, "KILLED")
        except TrackingError as error:
            self._warn(f"the status of earlier runs in MLflow cannot be corrected: {error}")
        for folder, word in became.items():
            run_id = str(folder.memory().get(RUN_ID, ""))
            if run_id in running or Spool(folder.path).status() == "RUNNING":
                self.end(RunHandle(self.store, folder.path, run_id), status_of(word))

    def end(self, handle: RunHandle | None, status: Status) -> None:
        if handle:
            self._add(handle, StatusChange(at=milliseconds(), status=status))

    def vary(self, handle: RunHandle | None, values: Mapping[int, Mapping[str, float | str]], lineage: str) -> None:
        """Log the values of a PBT trial by the step from which they hold, unless they are logged already, and its `lineage` as a tag."""
        if handle is None:
            return
        logged = Spool(handle.folder).steps()
        records: list[Record] = []
        for step, point in values.items():
            if missing := {name: value for name, value in value_metrics(point).items() if step > logged.get(name, -1)}:
                records.append(Metrics(at=milliseconds(), step=step, values=missing))
        if lineage:
            records.append(Tags(at=milliseconds(), values={"lineage": lineage}))
        self._add(handle, *records)

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Send the rest for at most `seconds`, and print how many records are still pending."""
        if self._sender:
            self._sender.close(seconds)
        print_pending(self.parent.folder, self.store)

    def _add(self, handle: RunHandle, *records: Record) -> None:
        try:
            add_records(handle.folder, *records)
        except OSError as error:
            self._warn(f"{handle.folder}: records for MLflow cannot be written ({error.strerror or error})")
        self._send(handle)

    def _send(self, handle: RunHandle) -> None:
        if self._sender:
            self._sender.add(Target(Spool(handle.folder), handle.run_id))

    def _warn(self, message: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(message)


@contextmanager
def ending(nested: NestedRuns | None) -> Iterator[None]:
    """Close `nested` at the end of the block. An error ends the parent as FAILED, Ctrl-C as KILLED."""
    seconds = CLOSING_SECONDS
    try:
        yield
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        seconds = STOPPED_SECONDS if is_stopped else CLOSING_SECONDS
        if nested:
            nested.end(nested.parent, "KILLED" if is_stopped else "FAILED")
        raise
    finally:
        if nested:
            nested.close(seconds)


def status_of(word: str) -> Status:
    """MLflow's status for the status `word` of a comparison's or sweep's record."""
    statuses: dict[str, Status] = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
    return statuses.get(word, "KILLED")
