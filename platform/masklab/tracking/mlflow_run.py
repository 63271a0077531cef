"""Creates, resumes and ends MLflow runs. Only drivers call this; workers log through `mlflow_tracker`."""

from __future__ import annotations

import getpass
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklab.errors import TrackingError
from masklab.io.redaction import first_line_redacted, redact
from masklab.schema import leaves
from masklab.tracking.mlflow_store import Store, make_database
from masklab.tracking.provenance import DatasetInput
from masklab.tracking.spool.record import Artifact, CreateRun, Metrics
from masklab.tracking.tracker import EVENT_METRICS, LoggedSteps, Status

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

PARAMS_PER_BATCH = 100
PAGE = 1000
"""Runs per request."""
PARAM_NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6000, 8000
"""Characters that MLflow accepts."""
_NOT_IN_PARAM_NAMES = re.compile(r"[^\w\-. :/]")
DESCRIPTION_TAG = "mlflow.note.content"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Tags of a new experiment: the UI then shows runs and charts first, not traces. An existing experiment is not changed."""
PARENT_TAG = "mlflow.parentRunId"
KEY_TAG = "run_key"
"""Tag with a run's key, which identifies the run before the store has given it an id."""


@dataclass(frozen=True)
class RunHandle:
    """Identifies an MLflow run. `store` is None in offline mode; `folder` holds its spool; `run_id` is empty until the run is created.

    `logged` are the steps in the store, for a folder without a spool.
    """

    store: Store | None
    folder: Path
    run_id: str = ""
    experiment_id: str = ""
    logged: LoggedSteps = field(default_factory=LoggedSteps)


def client_of(uri: str) -> MlflowClient:
    """A client whose requests time out in seconds, not minutes, without telemetry and without log lines about creating tables.

    MLflow reads these settings only from the environment, so they are set there unless the user has set them.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def load_mlflow(store: Store) -> None:
    """Import MLflow and open an existing store ahead of their first use, because that takes seconds."""
    import mlflow.tracking

    if store.is_local and store.database.exists():
        # creating the run reports what is wrong with the store
        with suppress(Exception):
            mlflow.tracking.MlflowClient(tracking_uri=store.uri).search_experiments(max_results=1)


def reach(store: Store, experiment: str = "Default") -> None:
    """Raise TrackingError, in one line, unless `store` answers and accepts runs in `experiment`."""
    store.check()
    if not (store.is_local and not store.database.exists()):
        with in_one_line(store.uri):
            _experiment_id(client_of(store.uri), store, experiment)


def create_run_record(
    experiment: str,
    *,
    run_name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Sequence[DatasetInput] = (),
    description: str = "",
    parent_key: str | None = None,
) -> CreateRun:
    """The record that creates a run under a new random key, without secrets."""
    labels = {"mlflow.user": _user(), DESCRIPTION_TAG: description, **tags}
    return CreateRun(
        at=milliseconds(),
        key=uuid.uuid4().hex,
        parent_key=parent_key,
        experiment=experiment,
        run_name=run_name,
        params=flat_params(params),
        tags={name: redact(value)[:TAG_LENGTH] for name, value in labels.items() if value},
        datasets=tuple(datasets),
    )


def flat_params(tree: Mapping[str, Any]) -> dict[str, str]:
    """The configuration as MLflow params without passwords: dotted name -> text, spelled so that it can be pasted as an override."""
    params = {}
    for name, value in leaves(tree):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        params[_NOT_IN_PARAM_NAMES.sub("_", name)[:PARAM_NAME_LENGTH]] = redact(text)[:PARAM_LENGTH]
    return params


def make_run(store: Store, declared: CreateRun) -> tuple[str, str]:
    """Create a run, its experiment and the database, as far as they do not exist. Returns the ids of the run and of the experiment.

    A run with the same key is reused: a killed process may have created it. Raises TrackingError, in one line, if the store fails.
    """
    from mlflow.entities import Param

    store.check()
    with in_one_line(store.uri):
        if store.is_local and not store.database.exists():
            make_database(store.database, lambda uri: client_of(uri).search_experiments(max_results=1))
        client = client_of(store.uri)
        experiment_id = _make_experiment(client, store, declared.experiment)
        tags = {**declared.tags, KEY_TAG: declared.key}
        if declared.parent_key and (parent := _by_key(client, experiment_id, declared.parent_key)):
            tags[PARENT_TAG] = parent
        run_id = _by_key(client, experiment_id, declared.key) or str(
            client.create_run(experiment_id, start_time=declared.at, tags=tags, run_name=declared.run_name).info.run_id
        )
        entries = [Param(name, value) for name, value in declared.params.items()]
        for i in range(0, len(entries), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=entries[i : i + PARAMS_PER_BATCH])
        if declared.datasets:
            client.log_inputs(run_id, [dataset.entity() for dataset in declared.datasets])
        return run_id, experiment_id


def resume_run(store: Store, folder: Path, run_id: str, logged: LoggedSteps | None = None) -> RunHandle:
    """Reopen a run; `logged` is read from the store if it is not given. Raises TrackingError if the store fails or lacks the run."""
    store.check()
    with in_one_line(store.uri):
        client = client_of(store.uri)
        run = client.get_run(run_id)
        if run.info.lifecycle_stage == "deleted":
            raise TrackingError(
                f"run {run_id} is deleted in {redact(store.uri)}; restore it (mlflow runs restore --run-id {run_id}), "
                "or use another run.name"
            )
        client.update_run(run_id, status="RUNNING")
        if logged is None:
            steps = [[point.step for point in client.get_metric_history(run_id, name)] for name in EVENT_METRICS]
            logged = LoggedSteps(*(max(each, default=-1) for each in steps))
        return RunHandle(store, folder, run_id, run.info.experiment_id, logged)


def end_run(store: Store, run_id: str, status: Status) -> None:
    """Set the run's final status. Raises TrackingError if the store fails."""
    with in_one_line(store.uri):
        client_of(store.uri).set_terminated(run_id, status=status)


def running_children(store: Store, parent: RunHandle) -> list[str]:
    """The ids of the runs nested in `parent` whose status is RUNNING. Raises TrackingError if the store fails."""
    with in_one_line(store.uri):
        running = f"tags.`{PARENT_TAG}` = '{parent.run_id}' and attributes.status = 'RUNNING'"
        return [run.info.run_id for run in search_runs(client_of(store.uri), [parent.experiment_id], running)]


def search_runs(client: MlflowClient, experiments: Sequence[str], where: str = "") -> list[Run]:
    """All runs of `experiments` (ids) that match MLflow's filter `where`, oldest first."""
    runs, token = [], None
    while token != "":
        page = client.search_runs(list(experiments), where, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token)
        runs += page
        token = page.token or ""
    return runs


def add_to_run(store: Store, run_id: str, metrics: Metrics, files: Artifact) -> None:
    """Add to a run without a change of its status. Raises TrackingError, in one line, if the store fails or lacks the run."""
    from mlflow.entities import Metric

    with in_one_line(store.uri):
        client = client_of(store.uri)
        client.log_batch(run_id, metrics=[Metric(name, value, metrics.at, metrics.step) for name, value in metrics.values.items()])
        client.log_artifacts(run_id, files.path, files.folder)


def _make_experiment(client: MlflowClient, store: Store, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if found := _experiment_id(client, store, name):
        return found
    try:
        return str(client.create_experiment(name, artifact_location=store.artifact_location, tags=EXPERIMENT_TAGS))
    except MlflowException:  # another driver may have created it meanwhile
        if found := _experiment_id(client, store, name):
            return found
        raise


def _experiment_id(client: MlflowClient, store: Store, name: str) -> str | None:
    """The id of an experiment; None if it does not exist. Raises TrackingError if it is deleted."""
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} is deleted in {redact(store.uri)}; set tracking.experiment to another name, "
            f"or restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id) if found else None


def _by_key(client: MlflowClient, experiment_id: str, key: str) -> str | None:
    found = client.search_runs([experiment_id], f"tags.{KEY_TAG} = '{key}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a user id may have no name
        return ""


def milliseconds() -> int:
    """The time since 1970 in milliseconds, as MLflow stores it."""
    return time.time_ns() // 1_000_000


@contextmanager
def in_one_line(uri: str, remedy: str = "see tracking.uri, or set tracking.enabled=false") -> Iterator[None]:
    """Turn the errors of the store at `uri` into a TrackingError of one line, without passwords."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise TrackingError(f"tracking store {redact(uri)} failed: {first_line_redacted(error)}; {remedy}") from error
