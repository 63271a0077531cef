"""The driver's side of MLflow: a run is made, found again and ended here, before and after any worker writes to it."""

from __future__ import annotations

import getpass
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklab.errors import TrackingError
from masklab.io.redaction import first_line_redacted, redact
from masklab.tracking.mlflow_store import Store, make_database
from masklab.tracking.params import flat_params
from masklab.tracking.provenance import DatasetInput
from masklab.tracking.spool.record import CreateRun
from masklab.tracking.tracker import EVENT_METRICS, LoggedSteps, Status

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

PARAMS_PER_BATCH = 100
TAG_LENGTH = 8000
DESCRIPTION_TAG = "mlflow.note.content"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""What a new experiment is marked with, so that the UI opens its runs and charts rather than traces; one that exists stays as it is."""
PARENT_TAG = "mlflow.parentRunId"
KEY_TAG = "run_key"
"""Tells a run apart from all others before the store has given it a number."""


@dataclass(frozen=True)
class RunHandle:
    """What a process needs to log to a run: its store, None where nothing is sent, its number, empty as long as it is not made, and the
    folder in which its figures wait. `logged` is what the store holds already, for a run whose folder does not know.
    """

    store: Store | None
    run_id: str = ""
    experiment_id: str = ""
    folder: Path | None = None
    logged: LoggedSteps = field(default_factory=LoggedSteps)

    @property
    def uri(self) -> str:
        """The address of its store."""
        assert self.store
        return self.store.uri


def client_of(uri: str) -> MlflowClient:
    """A client of the store at `uri` whose requests give up in seconds: MLflow's own defaults block a caller for minutes.

    MLflow reads these limits from the environment alone, so they are set there, unless the user has set them. Its usage
    reports to its makers are switched off in the same way, and its lines about making tables are kept back.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def load_mlflow(store: Store) -> None:
    """Import MLflow and open a store that is there already, which takes seconds, ahead of their first use."""
    import mlflow.tracking

    if store.is_local and store.database.exists():
        # what is wrong with the store is told when the run is made
        with suppress(Exception):
            mlflow.tracking.MlflowClient(tracking_uri=store.uri).search_experiments(max_results=1)


def reach(store: Store, experiment: str = "Default") -> None:
    """Find out whether `store` answers, and would take a run of `experiment`. Raises TrackingError, in one line, when it does not."""
    store.check()
    if not (store.is_local and not store.database.exists()):
        with in_one_line(store.uri):
            _found_experiment(client_of(store.uri), store, experiment)


def create_run_record(
    experiment: str,
    *,
    run_name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Sequence[DatasetInput] = (),
    description: str = "",
    key: str | None = None,
    parent_key: str | None = None,
) -> CreateRun:
    """A run as it is to be made, without the secrets in it. `key` is made up where there is none."""
    labels = {"mlflow.user": _user(), DESCRIPTION_TAG: description, **tags}
    return CreateRun(
        at=milliseconds(),
        key=key or uuid.uuid4().hex,
        parent_key=parent_key,
        experiment=experiment,
        run_name=run_name,
        params=flat_params(params),
        tags={name: redact(value)[:TAG_LENGTH] for name, value in labels.items() if value},
        datasets=tuple(datasets),
    )


def make_run(store: Store, declared: CreateRun) -> RunHandle:
    """Make a run, and with it the database's schema and the experiment where they are missing.

    A run that was made with the same key before, by a process that was killed before it could tell, is taken up instead.
    Raises TrackingError, in one line, when the store cannot be reached or refuses.
    """
    from mlflow.entities import Param

    store.check()
    with in_one_line(store.uri):
        if store.is_local and not store.database.exists():
            make_database(store.database, lambda uri: client_of(uri).search_experiments(max_results=1))
        client = client_of(store.uri)
        experiment_id = _experiment(client, store, declared.experiment)
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
        return RunHandle(store, run_id, experiment_id)


def start_run(store: Store, experiment: str, **facts: Any) -> RunHandle:
    """Declare a run of these `facts` and make it at once. Raises TrackingError."""
    return make_run(store, create_run_record(experiment, **facts))


def resume_run(store: Store, run_id: str, logged: LoggedSteps | None = None) -> RunHandle:
    """Reopen the run `run_id`. The store is asked up to where its figures are `logged` unless that is known.

    Raises TrackingError when the store lacks the run.
    """
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
        logged = logged or LoggedSteps(*(_last_step(client, run_id, name) for name in EVENT_METRICS))
        return RunHandle(store, run_id, run.info.experiment_id, logged=logged)


def end_run(handle: RunHandle, status: Status) -> None:
    """Set the run's final status. Raises TrackingError when the store cannot be reached."""
    with in_one_line(handle.uri):
        client_of(handle.uri).set_terminated(handle.run_id, status=status)


def children_under_way(store: Store, parent: RunHandle) -> list[str]:
    """The numbers of the children of `parent` whose status says that they go on. Raises TrackingError."""
    with in_one_line(store.uri):
        ours = f"tags.`{PARENT_TAG}` = '{parent.run_id}' and attributes.status = 'RUNNING'"
        found, token = [], None
        while token != "":
            page = client_of(store.uri).search_runs([parent.experiment_id], ours, page_token=token)
            found += [run.info.run_id for run in page]
            token = page.token or ""
        return found


def add_to_run(store: Store, run_id: str, metrics: Mapping[str, float], step: int, folder: Path, place: str) -> None:
    """Add figures at `step`, and the files of `folder` under `place`, to a run whatever its status, which stays.

    Raises TrackingError, in one line, when the store cannot be reached or lacks the run.
    """
    from mlflow.entities import Metric

    store.check()
    with in_one_line(store.uri):
        client = client_of(store.uri)
        now = milliseconds()
        client.log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])
        client.log_artifacts(run_id, str(folder), place)


def _experiment(client: MlflowClient, store: Store, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = _found_experiment(client, store, name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=store.artifact_location, tags=EXPERIMENT_TAGS))
        except MlflowException:  # another driver made it in the meantime, or else this raises again
            found = _found_experiment(client, store, name)
            if found is None:
                raise
    return found


def _found_experiment(client: MlflowClient, store: Store, name: str) -> str | None:
    """The number of an experiment, None where there is none. Raises TrackingError for one that is deleted."""
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


def _last_step(client: MlflowClient, run_id: str, metric: str) -> int:
    return max((point.step for point in client.get_metric_history(run_id, metric)), default=-1)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return ""


def milliseconds() -> int:
    """The time as MLflow counts it."""
    return time.time_ns() // 1_000_000


@contextmanager
def in_one_line(uri: str) -> Iterator[None]:
    """Turn what a store raises into a TrackingError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise TrackingError(
            f"tracking store {redact(uri)} failed: {first_line_redacted(error)}; see tracking.uri, or set tracking.enabled=false"
        ) from error
