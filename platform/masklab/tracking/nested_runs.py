"""The MLflow runs of a comparison or a sweep: a parent, and beneath it a child for each run that it trains.

The driver makes and ends them all, one after another, since MLflow's tables are not made by two processes at a time. A child that
cannot be made or ended is told of once and done without: its run's folder is whole either way.

A driver may be killed at any moment. What it was about to make is found again by a key that the folder has before MLflow does, and
what it left as going on is given its true status by the next driver.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from masklab.errors import TrackingError
from masklab.tracking.metrics import value_metrics
from masklab.tracking.mlflow_run import PARENT_TAG, RunHandle, children_under_way, create_run_record, end_run, milliseconds
from masklab.tracking.mlflow_store import Store
from masklab.tracking.provenance import DatasetInput
from masklab.tracking.run_registration import RUN_ID, add_records, declare, opened_run, run_of
from masklab.tracking.spool.pending import print_pending
from masklab.tracking.spool.record import Metrics, Record, StatusChange, Tags
from masklab.tracking.spool.sender import SpoolSender, Target
from masklab.tracking.spool.spool import Spool
from masklab.tracking.tracker import Status
from masklab.training.run_folder import RunFolder

_log = logging.getLogger(__name__)
REPORTED = "reported"
"""What the folder of a parent remembers: whether all that was found has been reported, since its driver last began."""


CLOSING_SECONDS, STOPPED_SECONDS = 60.0, 5.0
"""How long what is left is sent at the end, and where that is Ctrl-C: what is not sent by then is kept."""


@dataclass
class NestedRuns:
    """The children of the run `parent` in `experiment`. Without a `store` all that is told of them waits in their folders.

    `failures` counts what the store refused.
    """

    store: Store | None
    experiment: str
    parent: RunHandle
    failures: int = field(default=0, init=False)
    _sender: SpoolSender | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._sender = SpoolSender(self.store, self._failed) if self.store else None

    @classmethod
    def of(
        cls,
        store: Store | None,
        experiment: str,
        folder: RunFolder,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        dataset: DatasetInput,
        description: str,
    ) -> NestedRuns:
        """Those whose parent is the run in `folder`, made or found again. Raises TrackingError."""
        declared = create_run_record(
            experiment, run_name=folder.path.name, params=params, tags=tags, datasets=[dataset], description=description
        )
        return cls(store, experiment, opened_run(folder, store, declared))

    @property
    def found_by(self) -> dict[str, str]:
        """What a record keeps of the parent: its number, and how a person comes to see it."""
        if self.store is None or not self.parent.run_id:
            return {}
        return {RUN_ID: self.parent.run_id, "browse": self.store.browse(self.parent.experiment_id, self.parent.run_id)}

    def child(self, folder: RunFolder, name: str, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> RunHandle:
        """The child of the run in `folder`, made or found again; where the store fails it is made later."""
        assert self.parent.folder
        linked = {PARENT_TAG: self.parent.run_id, **tags}
        key = None if self.parent.run_id else Spool(self.parent.folder).key()
        declared = create_run_record(self.experiment, run_name=name, params=params, tags=linked, description=description, parent_key=key)
        try:
            handle = opened_run(folder, self.store, declared)
        except TrackingError as error:
            self._failed(f"{name} is not in MLflow yet: {error}")
            declare(folder, declared)
            handle = RunHandle(self.store, run_of(folder), folder=folder.path)
        self._send(handle)
        return handle

    def settle(self, became: Mapping[RunFolder, str]) -> None:
        """End the children that an earlier driver left as going on, by what `became` of the runs in their folders.

        For a driver that has not begun any run yet.
        """
        under_way: list[str] = []
        try:
            under_way = children_under_way(self.store, self.parent) if self.store and self.parent.run_id else []
            known = {folder.memory().get(RUN_ID): folder for folder in became}
            for run_id in under_way:
                if run_id not in known:
                    end_run(RunHandle(self.store, run_id, self.parent.experiment_id), "KILLED")
        except TrackingError as error:
            self._failed(f"the runs of an earlier part keep their status: {error}")
        for folder, word in became.items():
            run_id = str(folder.memory().get(RUN_ID, ""))
            if run_id in under_way or Spool(folder.path).status() == "RUNNING":
                self.end(RunHandle(self.store, run_id, folder=folder.path), status_of(word))

    def end(self, handle: RunHandle | None, status: Status) -> None:
        """Set a run's final status."""
        if handle:
            self._tell(handle, StatusChange(at=milliseconds(), status=status))

    def vary(self, handle: RunHandle | None, values: Mapping[int, Mapping[str, float | str]], lineage: str) -> None:
        """Tell a run's values from each step on, those that it does not have yet: numbers as figures; and `lineage` as a tag."""
        if handle is None:
            return
        assert handle.folder
        known = Spool(handle.folder).steps()
        records: list[Record] = []
        for step, point in values.items():
            missing = {name: value for name, value in value_metrics(point).items() if step > known.get(name, -1)}
            if missing:
                records.append(Metrics(at=milliseconds(), step=step, values=missing))
        self._tell(handle, *records, *([Tags(at=milliseconds(), values={"lineage": lineage})] if lineage else []))

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Send what is left, for `seconds` at most, and tell what could not be sent."""
        assert self.parent.folder
        if self._sender:
            self._sender.close(seconds)
        print_pending(self.parent.folder, self.store)

    def _tell(self, handle: RunHandle, *records: Record) -> None:
        assert handle.folder
        try:
            add_records(handle.folder, *records)
        except OSError as error:
            self._failed(f"{handle.folder}: nothing can be kept for MLflow ({error.strerror or error})")
        self._send(handle)

    def _send(self, handle: RunHandle) -> None:
        assert handle.folder
        if self._sender:
            self._sender.take(Target(Spool(handle.folder), handle.run_id))

    def _failed(self, words: str) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.warning(words)


@contextmanager
def ending(nested: NestedRuns | None) -> Iterator[None]:
    """End the parent when what is done within ends by an error, as KILLED where that is Ctrl-C."""
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
    """MLflow's word for what became of a run."""
    words: dict[str, Status] = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
    return words.get(word, "KILLED")
