"""What is added to a run in MLflow after training: figures and files of a later job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, TrackingError
from masklab.tracking.mlflow_run import add_to_run, in_one_line, milliseconds
from masklab.tracking.mlflow_store import Store
from masklab.tracking.run_registration import add_records, run_of
from masklab.tracking.spool.delivery import Delivery, PutOffError
from masklab.tracking.spool.record import Artifact, Figures
from masklab.tracking.spool.spool import Spool
from masklab.training.run_folder import RunFolder


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
            add_records(run.path, Figures(at=now, step=step, values=values), Artifact(at=now, path=path, folder=place))
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
    except (TrackingError, RunError, PutOffError, OSError) as error:
        return f"not added to the run in MLflow{' yet' * bool(later)}: {' '.join(str(error).split())}{later}"
    return None
