"""MLflow with a real SQLite store, a server that is away, and one that fails in the middle of a run."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import run_story
from mlflow_runs import start_run

from masklab.config.jobs.tracking import TrackingSettings
from masklab.errors import TrackingError
from masklab.io.redaction import redact
from masklab.reporting.run.reporter import MetricsLog, Reporter
from masklab.tracking.metrics import metrics_of
from masklab.tracking.mlflow_run import RunHandle, client_of, create_run_record, end_run, resume_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.provenance import DatasetInput
from masklab.tracking.run_registration import opened_run
from masklab.tracking.spool.spool import Spool
from masklab.tracking.tracker import LoggedSteps, NullTracker
from masklab.training.run_folder import RunFolder

FINGERPRINT = "ab" * 32


def start(store: Store, **changes: Any) -> RunHandle:
    arguments = {"run_name": "story", "params": {"training": {"batch_size": 16}}, "tags": {}} | changes
    return start_run(store, "masklab", **arguments)


def test_a_new_experiment_is_one_of_models_and_an_old_one_is_left_as_it_is(store: Store) -> None:
    client = client_of(store.uri)
    theirs = client.create_experiment("theirs", tags={"mlflow.experimentKind": "genai_development"})
    plain = client.create_experiment("plain")
    for name in ("theirs", "plain", "ours"):
        start_run(store, name, run_name="x", params={"a": 1}, tags={})
    start_run(store, "ours", run_name="y", params={"a": 1}, tags={})
    ours = client.get_experiment_by_name("ours")
    assert ours is not None and ours.tags["mlflow.experimentKind"] == "custom_model_development"
    assert client.get_experiment(theirs).tags["mlflow.experimentKind"] == "genai_development"
    assert "mlflow.experimentKind" not in client.get_experiment(plain).tags


def test_a_run_has_its_params_tags_dataset_and_description(store: Store) -> None:
    params = {"training": {"batch_size": 16, "min_lr": None}, "curriculum": {"stages": [{"type": "sticky"}, {"type": "diffusion"}]}}
    many = {f"key{i:03d}": i for i in range(250)}
    corpus = DatasetInput("shakespeare_char", FINGERPRINT, "/texts/input.txt", {"train": 1_003_854, "validation": 111_540})
    handle = start(
        store, params=params | {"many": many, "long": "x" * 9000}, tags={"git_commit": "c0ffee"}, datasets=[corpus], description="**hello**"
    )
    run = client_of(store.uri).get_run(handle.run_id)
    assert run.info.run_name == "story"
    assert run.data.params["training.batch_size"] == "16"
    assert run.data.params["training.min_lr"] == "null"
    assert run.data.params["curriculum.stages.1.type"] == "diffusion"
    assert run.data.params["many.key249"] == "249"
    assert len(run.data.params["long"]) == 6000
    assert run.data.tags["git_commit"] == "c0ffee"
    assert run.data.tags["mlflow.note.content"] == "**hello**"
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("shakespeare_char", FINGERPRINT[:36])
    assert json.loads(logged.dataset.profile) == {"train_chars": 1_003_854, "validation_chars": 111_540}
    assert run.info.artifact_uri.removeprefix("file://").startswith(str(store.folder / "mlruns"))


def test_a_whole_run_leaves_metrics_and_artifacts(store: Store) -> None:
    handle = start(store)
    warnings: list[str] = []
    tracker = MlflowTracker(handle, "driver", finish_seconds=60, report=warnings.append)
    reporter, log = Reporter(run_story.info(store.folder / "runs"), tracker), MetricsLog(tracker)
    for event in run_story.story(store.folder):
        log.handle(event)
        reporter.handle(event)
    tracker.finish("FINISHED")
    client = client_of(store.uri)
    run = client.get_run(handle.run_id)
    assert run.info.status == "FINISHED"
    assert (tracker.lost, warnings) == (0, [])
    assert set(run.data.metrics) == {name for event in run_story.story() for name in metrics_of(event)}
    assert run.data.metrics["final/model_vs_random"] == 9.0
    assert [point.step for point in client.get_metric_history(handle.run_id, "train/loss")] == [1, 100, 200, 300, 400]
    assert {f.path for f in client.list_artifacts(handle.run_id)} == {"summary.json", "figures", "samples"}
    assert {f.path for f in client.list_artifacts(handle.run_id, "figures")} == {"figures/loss.png", "figures/loss.svg"}
    assert "NELBO" in run.data.tags["mlflow.note.content"]


def test_a_resumed_run_is_not_logged_twice(store: Store) -> None:
    handle = start(store)
    tracker = MlflowTracker(handle, "driver", finish_seconds=60)
    for event in run_story.story()[:7]:
        MetricsLog(tracker).handle(event)
    tracker.finish()
    end_run(store, handle.run_id, "KILLED")

    again = resume_run(store, store.folder / "elsewhere", handle.run_id)
    assert again.logged == LoggedSteps(training=200, evaluation=200)
    tracker = MlflowTracker(again, "driver", finish_seconds=60)
    assert tracker.logged == again.logged, "a folder that knows nothing believes the store"
    log = MetricsLog(tracker)
    for event in [run_story.started(100), *run_story.story()[5:]]:
        log.handle(event)
    tracker.finish()
    client = client_of(store.uri)
    assert client.get_run(handle.run_id).info.status == "RUNNING"
    assert [point.step for point in client.get_metric_history(handle.run_id, "train/loss")] == [1, 100, 200, 300, 400]
    assert [point.step for point in client.get_metric_history(handle.run_id, "val/loss")] == [100, 200, 300, 400]
    assert [point.step for point in client.get_metric_history(handle.run_id, "final/loss")] == [400]


def test_a_run_that_was_begun_offline_goes_on_online_and_the_other_way_round(store: Store) -> None:
    folder = RunFolder(store.folder / "runs" / "story")
    folder.begin("{}\n")
    declared = create_run_record("masklab", run_name="story", params={"a": 1}, tags={})
    for part, place in enumerate((None, store, None, store)):
        handle = opened_run(folder, place, declared)
        tracker = MlflowTracker(handle, "worker")
        assert tracker.logged.training == 100 * part - 1
        for step in range(max(0, 100 * part - 20), 100 * (part + 1), 20):  # a part repeats the steps since the newest checkpoint
            if step > tracker.logged.training:
                tracker.log_metrics({"train/loss": step / 7}, step)
        tracker.log_metrics({"train/loss": 0.0}, 100 * part + 99)
        tracker.finish("KILLED" if part < 3 else "FINISHED")
    client = client_of(store.uri)
    (run,) = client.search_runs([handle.experiment_id])
    assert (run.info.status, run.data.params) == ("FINISHED", {"a": "1"})
    steps = [step for part in range(4) for step in (*range(100 * part, 100 * part + 100, 20), 100 * part + 99)]
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == steps
    assert Spool(folder.path).is_empty


def test_a_deleted_experiment_and_an_unknown_run_are_told_in_one_line(store: Store) -> None:
    handle = start(store)
    client_of(store.uri).delete_experiment(handle.experiment_id)
    with pytest.raises(TrackingError, match="experiment 'masklab' is deleted") as raised:
        start(store)
    assert "\n" not in str(raised.value)
    with pytest.raises(TrackingError, match="deleted"):
        resume_run(store, handle.folder, handle.run_id)
    with pytest.raises(TrackingError, match="failed"):
        resume_run(store, handle.folder, "0" * 32)


def test_the_default_store_is_sqlite_in_the_project_and_the_environment_comes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = Store.of(TrackingSettings(), tmp_path)
    assert default.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert default.browse() == f"MASKLAB_HOME={tmp_path} make ui"
    (tmp_path / "Makefile").touch()
    assert default.browse() == "make ui"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert Store.of(TrackingSettings(), tmp_path).uri == "http://tracking.example:5000"
    assert Store.of(TrackingSettings(), tmp_path).artifact_location is None
    assert Store.of(TrackingSettings(), tmp_path).browse("3", "f00") == "http://tracking.example:5000/#/experiments/3/runs/f00"
    monkeypatch.chdir(tmp_path)
    assert Store.of(TrackingSettings(uri="sqlite:///mine.db"), tmp_path / "elsewhere").uri == f"sqlite:///{tmp_path}/mine.db"
    assert "mlflow ui --backend-store-uri" in Store.of(TrackingSettings(uri="sqlite:///mine.db"), tmp_path).browse()


@pytest.mark.parametrize("uri", ["sqlit:///x.db", "./mlruns", "file:///tmp/mlruns", "ftp://host", "sqlite://", "sqlite:///"])
def test_a_uri_that_is_no_store_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri"):
        Store.of(TrackingSettings(uri=uri), tmp_path)


def test_a_near_scheme_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="did you mean 'sqlite'"):
        Store.of(TrackingSettings(uri="sqlit:///x.db"), tmp_path)


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, and no database at all" * 50)
    (tmp_path / "folder.db").mkdir()
    for name in ("notes.txt", "folder.db", "notes.txt/below/mlflow.db"):
        with pytest.raises(TrackingError, match="cannot be used") as raised:
            start(Store.of(TrackingSettings(uri=f"sqlite:///{tmp_path}/{name}"), tmp_path))
        assert "\n" not in str(raised.value)
    assert (tmp_path / "notes.txt").read_text().startswith("these are notes")


def test_a_server_that_is_down_is_told_at_once_and_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as held:  # bound but not listening: refuses
        held.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(TrackingError, match=r"no tracking server at http://\*\*\*@127\.0\.0\.1") as raised:
            start(Store.of(TrackingSettings(uri=uri), tmp_path))
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("uri", ["http://:5000", "http://localhost:99999", "http://localhost:abc"])
def test_an_address_without_host_or_port_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"the host is missing|the port is not a number"):
        Store.of(TrackingSettings(uri=uri), tmp_path).check()


def test_passwords_are_left_out_of_words() -> None:
    assert redact("at postgresql+psycopg2://me:p%40ss@db/x and http://plain/") == "at postgresql+psycopg2://***@db/x and http://plain/"
    assert redact("http://me:pa:ss@host/") == "http://***@host/"


def test_the_null_tracker_takes_everything(tmp_path: Path) -> None:
    tracker = NullTracker()
    tracker.log_metrics({"a": 1.0}, 1)
    tracker.log_artifact(tmp_path)
    tracker.log_text("a", "b")
    tracker.describe("c")
    tracker.finish("FINISHED")


@pytest.mark.parametrize("experiment", ["", " masklab", "x" * 501])
def test_an_experiment_needs_a_name(experiment: str) -> None:
    with pytest.raises(ValueError, match="experiment"):
        TrackingSettings(experiment=experiment)
