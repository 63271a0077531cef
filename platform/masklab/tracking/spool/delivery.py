"""Sends what waits in the spool of a run's folder to MLflow, in order.

What is sent twice is kept once, so that a crash between sending and noting what has arrived costs nothing: MLflow's key of a figure is its
name, step, value and time, which is that of the record; params, tags, texts, files and a status replace what is there; and a run is looked
for by its key before it is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklab.errors import TrackingError
from masklab.io.redaction import first_line_redacted
from masklab.tracking.mlflow_run import PARAMS_PER_BATCH, RunHandle, client_of, make_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.offset import DeliveryState, Entry
from masklab.tracking.spool.record import Artifact, CreateRun, Metrics, Params, Record, StatusChange, Tags, Text
from masklab.tracking.spool.spool import Spool, SpoolFile

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

POINTS_PER_REQUEST = 1000


class DeferredError(Exception):
    """A file, text or param was not taken, and waits behind the others; in words why."""


@dataclass
class Delivery:
    """What goes to `store`. `requests` counts those that succeeded. Nothing is sent or noted any more once `is_over`."""

    store: Store
    is_over: Callable[[], bool] = lambda: False
    requests: int = field(default=0, init=False)
    _client: MlflowClient | None = field(default=None, init=False)

    def deliver(self, spool: Spool, run_id: str = "", own: SpoolFile | None = None, *, is_alone: bool = False) -> bool:
        """Send what can be sent now. Returns whether that was all; a file that is done with goes, but for this process's `own`.

        `run_id` is the run's number, where it is known; `is_alone` says that no other process uses the folder, should there be no locks.
        Raises DeferredError once all else was tried, and what MLflow's client raises: what has arrived by then is noted.
        """
        refused: DeferredError | None = None
        is_all = True
        for file in spool.files():
            if not file.lines.exists():
                continue
            with file.held(is_ours=file == own, is_alone=is_alone) as is_free:
                if not is_free:
                    is_all = False
                    continue
                try:
                    sent = _FileDelivery(self, spool, file, run_id or known_run(spool)).all()
                except DeferredError as error:
                    refused, sent = refused or error, False
                if sent and file != own and (is_alone or file.lines.stat().st_size):
                    file.drop()
                is_all = is_all and sent
        if refused:
            raise refused
        return is_all

    def make(self, spool: Spool) -> RunHandle:
        """Make the run that is declared in `spool`, unless that is done. Raises TrackingError, as while another process is at it."""
        if found := spool.declaration():
            file, entry = found
            with file.held(is_ours=False) as is_free:
                if is_free:
                    _FileDelivery(self, spool, file, "").send_first(entry)
        made = spool.made()
        if made is None or made.run_id is None:
            raise TrackingError(f"{spool.folder}: another process is sending what waits there; try again when it has")
        return RunHandle(self.store, made.run_id, made.experiment_id or "")

    def client(self) -> MlflowClient:
        """The store's client."""
        self._client = self._client or client_of(self.store.uri)
        return self._client


@dataclass
class _FileDelivery:
    delivery: Delivery
    spool: Spool
    file: SpoolFile
    run_id: str
    arrival: DeliveryState = field(init=False)

    def all(self) -> bool:
        """Send the file from where it was left. False when that is stopped, or the run is not made yet."""
        self.arrival = self.file.arrival()
        figures: list[Entry] = []
        for entry in self.file.entries(self.arrival.end):
            if isinstance(entry.record, Metrics):
                figures.append(entry)
                if sum(len(each.record.values) for each in figures if isinstance(each.record, Metrics)) < POINTS_PER_REQUEST:
                    continue
            if not (self._sent_figures(figures) and (entry in figures or self._sent(entry))):
                return False
            figures = []
        if not self._sent_figures(figures):
            return False
        return all(entry is None or self._sent(entry) for entry in map(self.file.entry_at, self.arrival.behind))

    def send_first(self, entry: Entry) -> None:
        """Send the first entry alone."""
        self.arrival = self.file.arrival()
        if entry.start == self.arrival.end:
            self._sent(entry)

    def _sent_figures(self, entries: list[Entry]) -> bool:
        from mlflow.entities import Metric

        records = [entry.record for entry in entries if isinstance(entry.record, Metrics)]
        points = [Metric(name, value, record.at, record.step) for record in records for name, value in record.values.items()]
        if not points:
            return True
        if self._must_wait():
            return False
        for i in range(0, len(points), POINTS_PER_REQUEST):
            self.delivery.client().log_batch(self.run_id, metrics=points[i : i + POINTS_PER_REQUEST])
        arrival = self.arrival
        for entry in entries:
            arrival = arrival.after(entry)
        return self._note(arrival)

    def _sent(self, entry: Entry) -> bool:
        """Send what is no figure."""
        record = entry.record
        if isinstance(record, CreateRun):
            made = make_run(self.delivery.store, record)
            self.run_id = made.run_id
            return self._note(self.arrival.made(entry, record.key, made.run_id, made.experiment_id))
        is_overtaken = isinstance(record, StatusChange) and self.spool.status(after=self.file)  # and may have come late
        if record is None or is_overtaken:
            return self._note(self.arrival.after(entry))
        if self._must_wait():
            return False
        try:
            is_there = _send(self.delivery.client(), self.run_id, self.spool.run, record)
        except Exception as error:
            if isinstance(record, StatusChange | Tags):  # their order matters
                raise
            self._note(self.arrival.put_off(entry))
            raise DeferredError(first_line_redacted(error)) from error
        return self._note(self.arrival.after(entry, is_gone=not is_there))

    def _must_wait(self) -> bool:
        return not self.run_id or self.delivery.is_over()

    def _note(self, arrival: DeliveryState) -> bool:
        """Keep what has arrived, unless another process may be at the file by now."""
        if self.delivery.is_over():
            return False
        self.file.note(arrival)
        self.arrival = arrival
        self.delivery.requests += 1
        return True


def known_run(spool: Spool) -> str:
    """The number of the run whose declaration in `spool` has been sent; empty where none has."""
    made = spool.made()
    return made.run_id or "" if made else ""


def _send(client: MlflowClient, run_id: str, run: Path, record: Record) -> bool:
    """Send one record of the run in the folder `run`. False for a file that is no longer there."""
    from mlflow import entities

    match record:
        case Params(values=values):
            params = [entities.Param(name, value) for name, value in values.items()]
            for i in range(0, len(params), PARAMS_PER_BATCH):
                client.log_batch(run_id, params=params[i : i + PARAMS_PER_BATCH])
        case Tags(values=values):
            client.log_batch(run_id, tags=[entities.RunTag(name, value) for name, value in values.items()])
        case Text(text=text, name=name):
            client.log_text(run_id, text, name)
        case Artifact(path=path, folder=folder):
            return _send_file(client, run_id, run, path, folder)
        case StatusChange(status="RUNNING"):
            client.update_run(run_id, status="RUNNING")
        case StatusChange(status=status, at=at):
            client.set_terminated(run_id, status=status, end_time=at)
    return True


def _send_file(client: Any, run_id: str, run: Path, path: str, folder: str) -> bool:
    """Send a file or folder of the run's folder, and nothing that lies elsewhere."""
    place = run / path
    if not place.resolve().is_relative_to(run.resolve()) or not place.exists():
        return False
    if place.is_dir():
        if any(file.is_symlink() for file in place.rglob("*")):
            return False
        client.log_artifacts(run_id, str(place), folder or None)
    else:
        client.log_artifact(run_id, str(place), folder or None)
    return True
