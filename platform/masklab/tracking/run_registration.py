"""The MLflow run of a run's folder as a driver opens it: made, found again or, where nothing is to be sent, declared. Never made twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, TrackingError
from masklab.tracking.mlflow_run import RunHandle, add_to_run, in_one_line, milliseconds, resume_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.delivery import DeferredError, Delivery, known_run
from masklab.tracking.spool.record import Artifact, CreateRun, Metrics, Record, StatusChange
from masklab.tracking.spool.spool import Spool, SpoolWriter
from masklab.tracking.tracker import LoggedSteps
from masklab.training.run_folder import RunFolder

RUN_ID, RUN_KEY = "mlflow_run_id", "mlflow_run_key"
"""What `run.json` knows of the run in MLflow; the key only in folders of earlier versions."""
DRIVER = "driver"


def opened_run(folder: RunFolder, store: Store | None, declared: CreateRun) -> RunHandle:
    """The run of `folder`, which has begun and in which nobody is at work. Without a `store` nothing is sent.

    Raises TrackingError where the store fails. A run that is not made yet is declared all the same, and made when that is sent.
    """
    spool, run_id = Spool(folder.path), run_of(folder)
    if store and run_id:
        steps = spool.steps()
        handle = resume_run(store, run_id, LoggedSteps.of(steps) if steps else None)
        folder.remember(**{RUN_ID: run_id})
        declare(folder, declared)
        return replace(handle, folder=folder.path)
    declare(folder, declared)
    if store is None:
        return RunHandle(None, run_id, folder=folder.path)
    with in_one_line(store.uri):
        handle = Delivery(store).make(spool)
    folder.remember(**{RUN_ID: handle.run_id})
    return replace(handle, folder=folder.path)


def declare(folder: RunFolder, declared: CreateRun) -> None:
    """Note in the spool that the run goes on, and how it is to be made where that was not noted before."""
    records: list[Record] = [StatusChange(at=milliseconds(), status="RUNNING")]
    if not run_of(folder) and Spool(folder.path).key() is None:
        key = folder.memory().get(RUN_KEY)
        records.insert(0, declared.model_copy(update={"key": str(key)} if key else {}))
    add_records(folder.path, *records)


def settle(folder: RunFolder) -> None:
    """Note in the spool that the run of `folder`, which is finished, has ended, where its driver was killed before it could."""
    if Spool(folder.path).status() == "RUNNING":
        add_records(folder.path, StatusChange(at=milliseconds(), status="FINISHED"))


def run_of(folder: RunFolder) -> str:
    """The number of the folder's run in MLflow; empty as long as it is not made."""
    return str(folder.memory().get(RUN_ID) or known_run(Spool(folder.path)))


def add_records(folder: Path, *records: Record) -> None:
    """Add records to the spool in `folder`, for whoever sends next. Raises OSError where it cannot be written."""
    if records:
        writer = SpoolWriter(Spool(folder), DRIVER)
        try:
            for record in records:
                writer.add(record)
        finally:
            writer.close()


def add(
    run: RunFolder | None, settings: StoreSettings, home: Path, step: int, metrics: Mapping[str, float], folder: Path, place: str
) -> str | None:
    """Add figures at iteration `step`, and the files of `folder` under `place`, to the MLflow run of `run`.

    Returns what kept it from being done, in words, since the files lie in `folder` anyway; None when it was done or was not asked for.
    What lies in the run's folder and cannot be sent waits there, as the run's own figures do.
    """
    if not settings.enabled or run is None:
        return None
    later = ""
    try:
        run_id, spool = run_of(run), Spool(run.path)
        if not run_id and spool.key() is None:
            return None
        if is_within := folder.resolve().is_relative_to(run.path.resolve()):
            path = str(folder.resolve().relative_to(run.path.resolve()))
            values = {name: float(value) for name, value in metrics.items()}
            now = milliseconds()
            add_records(run.path, Metrics(at=now, step=step, values=values), Artifact(at=now, path=path, folder=place))
            later = "; make sync sends it"
        if not run_id:
            raise TrackingError("the run is not there yet")
        store = Store.of(settings, home)
        if store.is_local and not store.database.exists():
            raise TrackingError(f"there is no tracking store {store.database}")
        store.check()
        if is_within:
            with in_one_line(store.uri):
                Delivery(store).deliver(spool, run_id)
        else:
            add_to_run(store, run_id, metrics, step, folder, place)
    except (TrackingError, RunError, DeferredError, OSError) as error:
        return f"not added to the run in MLflow{' yet' * bool(later)}: {' '.join(str(error).split())}{later}"
    return None
