"""What is added to a run in MLflow after training: figures and files of a later job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from masklab.config.tracking_settings import StoreSettings
from masklab.errors import RunError, TrackingError, UserError
from masklab.tracking.mlflow_run import add_to_run
from masklab.tracking.store import Store
from masklab.training.run_folder import RunFolder


def add(
    run: RunFolder | None, settings: StoreSettings, home: Path, step: int, metrics: Mapping[str, float], folder: Path, place: str
) -> str | None:
    """Add figures at iteration `step`, and the files of `folder` under `place`, to the MLflow run of `run`.

    Returns what kept it from being done, in words, since the files lie in `folder` anyway; None when it was done or was not asked for.
    """
    if not settings.enabled:
        return None
    try:
        run_id = run.memory().get("mlflow_run_id") if run else None
        if run_id is None:
            return None
        store = Store.of(settings, home)
        if store.is_local and not store.database.exists():
            raise TrackingError(f"there is no tracking store {store.database}")
        add_to_run(store, str(run_id), metrics, step, folder, place)
    except (TrackingError, RunError) as error:
        return f"not added to the run in MLflow: {_reason(error)}"
    return None


def _reason(error: UserError) -> str:
    return " ".join(str(error).split())
