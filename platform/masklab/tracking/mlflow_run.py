"""The driver's side of MLflow: a run is made, found again and ended here, before and after any worker writes to it."""

from __future__ import annotations

import getpass
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklab.errors import TrackingError
from masklab.redaction import redact
from masklab.tracking.new_database import make_database
from masklab.tracking.params import flat_params
from masklab.tracking.store import Store
from masklab.tracking.tracker import Status

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from masklab.text.dataset import Dataset
    from masklab.text.preparation import Corpus

PARAMS_PER_BATCH = 100
TAG_LENGTH = 8000
DIGEST_LENGTH = 36
DESCRIPTION_TAG = "mlflow.note.content"
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""What a new experiment is marked with, so that the UI opens its runs and charts rather than traces; one that exists stays as it is."""
PARENT_TAG = "mlflow.parentRunId"
KEY_TAG = "run_key"
"""Tells a run apart from all others before the store has given it a number."""


@dataclass(frozen=True)
class DatasetInput:
    """The text that a run reads. `fingerprint` is the corpus's; `sizes` are the characters in each split."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset, corpus: Corpus) -> DatasetInput:
        """The text of `dataset`, as it was prepared."""
        return cls(dataset.name, corpus.fingerprint, str(dataset.path or dataset.name), corpus.characters)


@dataclass(frozen=True)
class LoggedSteps:
    """The last iterations whose figures the store already holds; -1 for none."""

    training: int = -1
    evaluation: int = -1


@dataclass(frozen=True)
class RunHandle:
    """What a worker needs to log to a run that the driver has made."""

    uri: str
    run_id: str
    experiment_id: str
    logged: LoggedSteps = LoggedSteps()


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


def start_run(
    store: Store,
    experiment: str,
    *,
    run_name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Sequence[DatasetInput] = (),
    description: str = "",
    key: str | None = None,
) -> RunHandle:
    """Make a run, and with it the database's schema and the experiment where they are missing.

    A run that was made with the same `key` before, by a process that was killed before it could tell, is taken up instead.
    Raises TrackingError, in one line, when the store cannot be reached or refuses.
    """
    from mlflow.entities import Param

    store.check()
    with _in_one_line(store.uri):
        if store.is_local and not store.database.exists():
            make_database(store.database, lambda uri: client_of(uri).search_experiments(max_results=1))
        client = client_of(store.uri)
        experiment_id = _experiment(client, store, experiment)
        labels = {"mlflow.user": _user(), DESCRIPTION_TAG: description, KEY_TAG: key or "", **tags}
        tags = {name: redact(value)[:TAG_LENGTH] for name, value in labels.items() if value}
        known = client.search_runs([experiment_id], f"tags.{KEY_TAG} = '{key}'", max_results=1) if key else []
        run_id = (known[0] if known else client.create_run(experiment_id, tags=tags, run_name=run_name)).info.run_id
        entries = [Param(name, value) for name, value in flat_params(params).items()]
        for i in range(0, len(entries), PARAMS_PER_BATCH):
            client.log_batch(run_id, params=entries[i : i + PARAMS_PER_BATCH])
        if datasets:
            client.log_inputs(run_id, [_entity(dataset) for dataset in datasets])
        return RunHandle(store.uri, run_id, experiment_id)


def resume_run(store: Store, run_id: str) -> RunHandle:
    """Reopen the run `run_id`, and tell up to where its figures are logged. Raises TrackingError when the store lacks it."""
    store.check()
    with _in_one_line(store.uri):
        client = client_of(store.uri)
        run = client.get_run(run_id)
        if run.info.lifecycle_stage == "deleted":
            raise TrackingError(
                f"run {run_id} is deleted in {redact(store.uri)}; restore it (mlflow runs restore --run-id {run_id}), "
                "or use another run.name"
            )
        client.update_run(run_id, status="RUNNING")
        logged = LoggedSteps(_last_step(client, run_id, "train/loss"), _last_step(client, run_id, "curriculum/stage"))
        return RunHandle(store.uri, run_id, run.info.experiment_id, logged)


def end_run(handle: RunHandle, status: Status) -> None:
    """Set the run's final status. Raises TrackingError when the store cannot be reached."""
    with _in_one_line(handle.uri):
        client_of(handle.uri).set_terminated(handle.run_id, status=status)


def annotate_run(handle: RunHandle, metrics: Mapping[str, float], step: int, tags: Mapping[str, str]) -> None:
    """Add figures at `step`, and tags, to a run that may be under way. Raises TrackingError."""
    from mlflow.entities import Metric, RunTag

    now = time.time_ns() // 1_000_000
    with _in_one_line(handle.uri):
        client_of(handle.uri).log_batch(
            handle.run_id,
            metrics=[Metric(name, value, now, step) for name, value in metrics.items()],
            tags=[RunTag(name, value[:TAG_LENGTH]) for name, value in tags.items()],
        )


def steps_of(handle: RunHandle, metric: str) -> set[int]:
    """The steps at which a run has a figure. Raises TrackingError."""
    with _in_one_line(handle.uri):
        return {point.step for point in client_of(handle.uri).get_metric_history(handle.run_id, metric)}


def children_under_way(store: Store, parent: RunHandle) -> list[str]:
    """The numbers of the children of `parent` whose status says that they go on. Raises TrackingError."""
    with _in_one_line(store.uri):
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
    with _in_one_line(store.uri):
        client = client_of(store.uri)
        now = time.time_ns() // 1_000_000
        client.log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])
        client.log_artifacts(run_id, str(folder), place)


def _experiment(client: MlflowClient, store: Store, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=store.artifact_location, tags=EXPERIMENT_TAGS))
        except MlflowException:  # another driver made it in the meantime, or else this raises again
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"experiment {name!r} is deleted in {redact(store.uri)}; set tracking.experiment to another name, "
            f"or restore it: mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)


def _entity(dataset: DatasetInput) -> Any:
    """MLflow's plain dataset entity: its page of a run shows name, digest, source and the sizes as a profile."""
    from mlflow import entities

    splits = {f"{split}_chars": size for split, size in dataset.sizes.items()}
    return entities.DatasetInput(
        dataset=entities.Dataset(
            name=dataset.name,
            digest=dataset.fingerprint[:DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": redact(dataset.source)}),
            profile=json.dumps(splits),
        ),
        tags=[entities.InputTag("mlflow.data.context", "training")],
    )


def _last_step(client: MlflowClient, run_id: str, metric: str) -> int:
    return max((point.step for point in client.get_metric_history(run_id, metric)), default=-1)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return ""


@contextmanager
def _in_one_line(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        raise TrackingError(
            f"tracking store {redact(uri)} failed: {reason_of(error)}; see tracking.uri, or set tracking.enabled=false"
        ) from error


def reason_of(error: BaseException) -> str:
    """The first line of an error's message, without passwords, short enough to print."""
    lines = str(error).strip().splitlines()
    return redact(lines[0] if lines else type(error).__name__)[:300]
