"""Sends the records of a run's spool to MLflow, in order.

A record that is sent twice is stored once, so a crash between sending a record and committing its offset does no harm: MLflow's key of a
metric value is its name, step, value and time, and the time is the record's; params, tags, texts, files and a status overwrite; and a
run is searched for by its key before it is created.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from masklab.errors import TrackingError
from masklab.io.redaction import first_line_redacted
from masklab.tracking.mlflow_run import RunHandle, client_of, make_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.record import Artifact, CreateRun, DeliveryState, Entry, Metrics, Record, StatusChange, Tags, Text
from masklab.tracking.spool.spool import LockOwner, Spool, SpoolFile

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

POINTS_PER_REQUEST = 1000


class DeferredError(Exception):
    """The store refused a file or text, which is tried again after all other records. The message is the store's reason."""


@dataclass
class Delivery:
    """Sends to `store`. `requests` counts the successful ones. Nothing is sent or committed once `is_over` returns True."""

    store: Store
    is_over: Callable[[], bool] = lambda: False
    requests: int = field(default=0, init=False)

    def deliver(self, spool: Spool, run_id: str = "", own: SpoolFile | None = None, others: LockOwner = LockOwner.ANYONE) -> bool:
        """Send what can be sent now. Returns whether that was everything. A delivered file is deleted, unless it is `own`.

        `run_id` is the MLflow run, if it is known; `own` is the file that this process writes; `others` is who may hold the other files.
        Raises DeferredError after everything else was tried, and the errors of MLflow's client; what was delivered by then is committed.
        """
        refused: DeferredError | None = None
        is_all = True
        for file in spool.files():
            if not file.lines.exists():
                continue
            with file.locked(LockOwner.CALLER if file == own else others) as is_free:
                if not is_free:
                    is_all = False
                    continue
                try:
                    sent = _FileDelivery(self, spool, file, file.state(), run_id or spool.run_id()).send()
                except DeferredError as error:
                    refused, sent = refused or error, False
                # an empty file may belong to a process that has created it and not locked it yet
                if sent and file != own and (others is LockOwner.NOBODY or file.lines.stat().st_size):
                    file.drop()
                is_all = is_all and sent
        if refused:
            raise refused
        return is_all

    def create_run(self, spool: Spool) -> RunHandle:
        """Create the run of the CreateRun record in `spool`, unless it exists. Raises TrackingError, e.g. while another process does it."""
        if found := spool.pending_run():
            file, entry = found
            with file.locked(LockOwner.ANYONE) as is_free:
                state = file.state()
                if is_free and entry.start == state.committed:
                    _FileDelivery(self, spool, file, state, "").send_other(entry)
        created = spool.created()
        if created.run_id is None:
            raise TrackingError(f"{spool.folder}: another process is sending these records; try again when it has finished")
        return RunHandle(self.store, spool.run, created.run_id, created.experiment_id or "")

    @cached_property
    def client(self) -> MlflowClient:
        return client_of(self.store.uri)


@dataclass
class _FileDelivery:
    delivery: Delivery
    spool: Spool
    file: SpoolFile
    state: DeliveryState
    run_id: str

    def send(self) -> bool:
        """Send the file from its committed offset on. False if the delivery is over, or the run is not created yet."""
        batch: list[Entry] = []
        for entry in self.file.entries(self.state.committed):
            if isinstance(entry.record, Metrics):
                batch.append(entry)
                if sum(len(each.record.values) for each in batch if isinstance(each.record, Metrics)) < POINTS_PER_REQUEST:
                    continue
            if not (self._send_metrics(batch) and (entry in batch or self.send_other(entry))):
                return False
            batch = []
        if not self._send_metrics(batch):
            return False
        return all(entry is None or self.send_other(entry) for entry in map(self.file.entry_at, self.state.retry_offsets))

    def _send_metrics(self, entries: list[Entry]) -> bool:
        from mlflow.entities import Metric

        records = [entry.record for entry in entries if isinstance(entry.record, Metrics)]
        points = [Metric(name, value, record.at, record.step) for record in records for name, value in record.values.items()]
        if not points:
            return True
        if self._must_wait():
            return False
        for i in range(0, len(points), POINTS_PER_REQUEST):
            self.delivery.client.log_batch(self.run_id, metrics=points[i : i + POINTS_PER_REQUEST])
        state = self.state
        for entry in entries:
            state = state.acked(entry)
        return self._commit(state)

    def send_other(self, entry: Entry) -> bool:
        record = entry.record
        if isinstance(record, CreateRun):
            self.run_id, experiment_id = make_run(self.delivery.store, record)
            return self._commit(self.state.created(entry, record.key, self.run_id, experiment_id))
        is_outdated = isinstance(record, StatusChange) and self.spool.status(after=self.file)  # a younger file has a later status
        if record is None or is_outdated:
            return self._commit(self.state.acked(entry))
        if self._must_wait():
            return False
        try:
            exists = _send_record(self.delivery.client, self.run_id, self.spool.run, record)
        except Exception as error:
            if isinstance(record, StatusChange | Tags):  # these must keep their order
                raise
            self._commit(self.state.deferred(entry))
            raise DeferredError(first_line_redacted(error)) from error
        return self._commit(self.state.acked(entry, is_gone=not exists))

    def _must_wait(self) -> bool:
        return not self.run_id or self.delivery.is_over()

    def _commit(self, state: DeliveryState) -> bool:
        """Commit `state`. False once the delivery is over, since another process may be sending the file by then."""
        if self.delivery.is_over():
            return False
        self.file.commit(state)
        self.state = state
        self.delivery.requests += 1
        return True


def _send_record(client: MlflowClient, run_id: str, run: Path, record: Record) -> bool:
    """Send one record of the run in the folder `run`. False for a file that does not exist any more."""
    from mlflow.entities import RunTag

    match record:
        case Tags(values=values):
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in values.items()])
        case Text(text=text, name=name):
            client.log_text(run_id, text, name)
        case Artifact(path=path, folder=folder):
            return _send_artifact(client, run_id, run, path, folder)
        case StatusChange(status="RUNNING"):
            client.update_run(run_id, status="RUNNING")
        case StatusChange(status=status, at=at):
            client.set_terminated(run_id, status=status, end_time=at)
    return True


def _send_artifact(client: MlflowClient, run_id: str, run: Path, path: str, folder: str) -> bool:
    """Send a file or folder that lies in the run's folder. False for any other, e.g. behind a symbolic link."""
    source = run / path
    if not source.resolve().is_relative_to(run.resolve()) or not source.exists():
        return False
    if source.is_dir():
        if any(file.is_symlink() for file in source.rglob("*")):
            return False
        client.log_artifacts(run_id, str(source), folder or None)
    else:
        client.log_artifact(run_id, str(source), folder or None)
    return True
