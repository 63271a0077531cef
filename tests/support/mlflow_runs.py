"""MLflow runs for tests, without a run folder."""

from __future__ import annotations

from typing import Any

from masklab.tracking.mlflow_run import RunHandle, create_run_record, make_run
from masklab.tracking.mlflow_store import Store


def start_run(store: Store, experiment: str, **facts: Any) -> RunHandle:
    """Create a run of these `facts`."""
    return RunHandle(store, store.folder / "runs", *make_run(store, create_run_record(experiment, **facts)))
