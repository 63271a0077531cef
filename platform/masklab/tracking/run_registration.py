"""Registers a run folder's run in MLflow: created, resumed, or only declared in the spool when nothing is sent. Never created twice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, TrackingError
from masklab.tracking.mlflow_run import RunHandle, add_to_run, in_one_line, milliseconds, resume_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.record import Artifact, CreateRun, Metrics, Record, StatusChange
from masklab.tracking.spool.spool import Spool, SpoolWriter
from masklab.tracking.tracker import LoggedSteps
from masklab.training.run_folder import RunFolder

RUN_ID = "mlflow_run_id"
"""The run's MLflow id in `run.json`."""
DRIVER = "driver"
"""The name of a driver's spool file."""


def opened_run(folder: RunFolder, store: Store | None, declared: CreateRun) -> RunHandle:
    """Create or resume the run of `folder`, in which no other process is at work. Without a `store` nothing is sent.

    Raises TrackingError if the store fails; a new run then stays declared in the spool, and is created when that is sent.
    """
    spool, run_id = Spool(folder.path), run_of(folder)
    if store and run_id:
        steps = spool.steps()
        handle = resume_run(store, folder.path, run_id, LoggedSteps.of(steps) if steps else None)
        folder.remember(**{RUN_ID: run_id})
        declare(folder, declared)
        return handle
    declare(folder, declared)
    if store is None:
        return RunHandle(None, folder.path, run_id)
    with in_one_line(store.uri):
        handle = Delivery(store).create_run(spool)
    folder.remember(**{RUN_ID: handle.run_id})
    return handle


def declare(folder: RunFolder, declared: CreateRun) -> None:
    """Add to the spool that the run is RUNNING, and before that its CreateRun record if the run is new."""
    records: list[Record] = [StatusChange(at=milliseconds(), status="RUNNING")]
    if not run_of(folder) and Spool(folder.path).key() is None:
        records.insert(0, declared)
    add_records(folder.path, *records)


def settle(folder: RunFolder) -> None:
    """Add to the spool that the run of `folder` is FINISHED, if its driver was killed between its end and that record."""
    if Spool(folder.path).status() == "RUNNING":
        add_records(folder.path, StatusChange(at=milliseconds(), status="FINISHED"))


def run_of(folder: RunFolder) -> str:
    """The MLflow id of the folder's run; empty until the run is created."""
    return str(folder.memory().get(RUN_ID) or Spool(folder.path).run_id())


def add_records(folder: Path, *records: Record) -> None:
    """Add records to the spool in `folder`, to be sent by whoever sends next. Raises OSError if it cannot be written."""
    with closing(SpoolWriter(Spool(folder), DRIVER)) as writer:
        for record in records:
            writer.add(record)


def add(run: RunFolder, settings: StoreSettings, home: Path, metrics: Metrics, files: Artifact) -> str | None:
    """Add `metrics` and the `files` of a folder, by its absolute path, to the MLflow run of `run`.

    Returns why that failed, for a notice, since the files are there anyway; None if it succeeded or the run is not for MLflow. Metrics
    and files in the run's own folder wait in its spool until the store accepts them.
    """
    later = ""
    try:
        run_id, spool = run_of(run), Spool(run.path)
        if not run_id and spool.key() is None:
            return None
        folder, own = Path(files.path).resolve(), run.path.resolve()
        if is_within := folder.is_relative_to(own):
            add_records(run.path, metrics, files.model_copy(update={"path": str(folder.relative_to(own))}))
            later = "; make sync sends it"
        if not run_id:
            raise TrackingError("the run has not been created yet")
        store = Store.of(settings, home)
        if store.is_local and not store.database.exists():
            raise TrackingError(f"there is no tracking store {store.database}")
        store.check()
        if is_within:
            with in_one_line(store.uri):
                Delivery(store).deliver(spool, run_id)
        else:
            add_to_run(store, run_id, metrics, files)
    except (TrackingError, RunError, DeferredError, OSError) as error:
        return f"not added to the run in MLflow{' yet' * bool(later)}: {' '.join(str(error).split())}{later}"
    return None
