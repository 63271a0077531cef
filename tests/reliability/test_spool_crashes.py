"""A process dies while it sends: wherever that is, the next one continues, and a real store has every metric value once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from masklab.config.jobs.sync import SyncConfig
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, TrackingError
from masklab.tracking.mlflow_run import KEY_TAG, PARENT_TAG, client_of, create_run_record, make_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.nested_runs import NestedRuns
from masklab.tracking.provenance import DatasetInput
from masklab.tracking.run_registration import RUN_ID, add, add_records, declare, opened_run, settle
from masklab.tracking.spool import delivery
from masklab.tracking.spool.delivery import Delivery
from masklab.tracking.spool.record import Artifact, CreateRun, Metrics, StatusChange, Tags, Text
from masklab.tracking.spool.spool import Spool, SpoolFile
from masklab.tracking.spool.sync import synchronise
from masklab.tracking.tracker import LoggedSteps
from masklab.training.folder_lock import alone, at_work, driving
from masklab.training.run_folder import RunFolder

DATASET = DatasetInput("tiny", "ab" * 32, "/texts/tiny.txt", {"train": 90, "validation": 10})


class Crash(BaseException):
    """The process died here."""


def declared(name: str = "run", **facts: Any) -> CreateRun:
    return create_run_record("crashes", run_name=name, params={"a": {"b": 1}}, tags={"c": "d"}, description="**plan**", **facts)


def begun(home: Path, name: str = "run") -> RunFolder:
    folder = RunFolder(home / "runs" / name)
    folder.begin("{}\n")
    return folder


class Dying:
    """Lets a process live for `life` events; a request to MLflow and its commit are two or three events."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.life, self.events = 0, 0
        self._real = client_of
        monkeypatch.setattr(delivery, "client_of", lambda uri: self.wrapped(self._real(uri)))
        for owner, name in ((SpoolFile, "commit"), (SpoolFile, "drop")):
            monkeypatch.setattr(owner, name, self._dying(getattr(owner, name)))
        monkeypatch.setattr(delivery, "make_run", self._dying(make_run))

    def reborn(self, life: int) -> None:
        self.life, self.events = life, 0

    def wrapped(self, client: Any) -> Any:
        return _Client(client, self._dying)

    def _event(self) -> None:
        self.events += 1
        if self.events > self.life:
            raise Crash

    def _dying(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **named: Any) -> Any:
            self._event()
            result = act(*arguments, **named)
            self._event()
            return result

        return dying


class _Client:
    def __init__(self, client: Any, dying: Callable[..., Any]) -> None:
        self._client, self._dying = client, dying

    def __getattr__(self, name: str) -> Any:
        return self._dying(getattr(self._client, name))


STEPS = [Metrics(at=1000 + i, step=i, values={"train/loss": i / 7, "train/lr": float("nan") if i == 5 else i / 3}) for i in range(50)]


def waiting(home: Path, name: str) -> Spool:
    """A run with pending records of each kind."""
    folder = begun(home, name)
    (folder.path / "summary.json").write_text("{}")
    add_records(folder.path, declared(name, datasets=[DATASET]), Tags(at=2, values={"late": "1"}), Text(at=3, name="a/b.txt", text="c"))
    add_records(folder.path, *STEPS, Artifact(at=4, path="summary.json"), Tags(at=5, values={"x": "y"}))
    add_records(folder.path, StatusChange(at=123_456_789, status="FINISHED"))
    return Spool(folder.path)


def flaws(client: Any, name: str) -> tuple[int, int]:
    """How many metric values of a run are lost and how many are doubled; everything else must be right."""
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()], f"attributes.run_name = '{name}'")
    lost = doubled = 0
    for metric in ("train/loss", "train/lr"):
        points = client.get_metric_history(run.info.run_id, metric)
        lost += len({record.step for record in STEPS} - {point.step for point in points})
        doubled += len(points) - len({point.step for point in points})
        assert all(point.timestamp == 1000 + point.step for point in points)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 123_456_789)
    assert run.data.params == {"a.b": "1"} and (run.data.tags["late"], run.data.tags["x"]) == ("1", "y")
    assert len(run.inputs.dataset_inputs) == 1
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"a", "summary.json"}
    return lost, doubled


def test_wherever_a_process_dies_while_it_sends_the_next_one_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, told: Callable[[str], None]
) -> None:
    monkeypatch.setattr(delivery, "POINTS_PER_REQUEST", 40)
    dying, client = Dying(monkeypatch), client_of(store.uri)
    found: list[tuple[int, int]] = []
    is_dead = True
    while is_dead:
        name = f"dies-after-{len(found)}"
        spool = waiting(store.folder, name)
        dying.reborn(len(found))
        is_dead = False
        try:
            Delivery(store).deliver(spool)
        except Crash:
            is_dead = True
            dying.reborn(10**9)
            assert Delivery(store).deliver(spool)
            found.append(flaws(client, name))
        assert spool.is_empty
    deaths = len(found)
    lost, doubled = sum(each[0] for each in found), sum(each[1] for each in found)
    told(f"spool: a process dies at each of {deaths} points of sending: {lost} of {2 * len(STEPS) * deaths} values lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0) and deaths > 20


def test_a_run_that_was_never_sent_is_made_once_as_it_was(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begun(store.folder)
    handle = opened_run(folder, None, declared(datasets=[DATASET]))
    tracker = MlflowTracker(handle, "worker")
    for step in range(1, 6):
        tracker.log_metrics({"train/loss": step / 7, "curriculum/stage": 0.0}, step)
    tracker.finish("KILLED")
    again = MlflowTracker(opened_run(folder, None, declared()), "worker")
    assert again.logged == LoggedSteps(5, 5, -1)
    again.log_metrics({"train/loss": 6 / 7}, 6)
    again.finish("FINISHED")
    assert not client_of(store.uri).get_experiment_by_name("crashes")
    for _ in range(2):
        assert synchronise(SyncConfig(run="run"), store.folder) == 0
    assert "11 metric values and 5 other records sent, of 1 runs" in capsys.readouterr().out
    client = client_of(store.uri)
    experiment = client.get_experiment_by_name("crashes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params) == ("run", "FINISHED", {"a.b": "1"})
    assert run.data.tags["mlflow.note.content"] == "**plan**" and KEY_TAG in run.data.tags
    assert run.info.start_time <= client.get_metric_history(run.info.run_id, "train/loss")[0].timestamp <= run.info.end_time
    assert folder.memory()[RUN_ID] == run.info.run_id
    assert [file.suffix for file in sorted(Spool(folder.path).folder.iterdir())] == [".sent"] * 4, "what was sent is still known"
    assert LoggedSteps.of(Spool(folder.path).steps()) == LoggedSteps(6, 5, -1)
    online = opened_run(folder, store, declared())
    assert online.run_id == run.info.run_id


def test_a_parent_and_its_children_that_were_never_sent_are_nested(store: Store) -> None:
    facts = {"params": {"seed": 1}, "tags": {}, "description": ""}
    folder = begun(store.folder, "sweep")
    nested = NestedRuns(None, folder, declared("sweep", datasets=[DATASET]))
    for i, word in enumerate(("FINISHED", "FAILED")):
        child = begun(store.folder, f"sweep/trials/{i}")
        handle = nested.child(child, f"sweep/{i}", **facts)
        MlflowTracker(handle, "trial").log_metrics({"train/loss": i}, i)
        nested.vary(handle, {0: {"rate": 0.1}, 5: {"rate": 0.2}}, "from 3")
        nested.vary(handle, {0: {"rate": 0.1}, 5: {"rate": 0.2}, 9: {"rate": 0.3}}, "from 3")
        nested.end(handle, word)  # type: ignore[arg-type]
    nested.end(nested.parent, "FINISHED")
    assert synchronise(SyncConfig(), store.folder) == 0
    client = client_of(store.uri)
    experiment = client.get_experiment_by_name("crashes")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert {name: run.info.status for name, run in runs.items()} == {"sweep": "FINISHED", "sweep/0": "FINISHED", "sweep/1": "FAILED"}
    assert {runs[name].data.tags[PARENT_TAG] for name in ("sweep/0", "sweep/1")} == {runs["sweep"].info.run_id}
    points = client.get_metric_history(runs["sweep/1"].info.run_id, "values/rate")
    assert [(point.step, point.value) for point in points] == [(0, 0.1), (5, 0.2), (9, 0.3)]


def test_a_child_that_the_store_does_not_take_is_made_when_it_does(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    facts = {"params": {"seed": 1}, "tags": {}, "description": ""}
    nested = NestedRuns(store, begun(store.folder, "sweep"), declared("sweep", datasets=[DATASET]))
    child = begun(store.folder, "sweep/trials/0")

    def refuse(*_: Any) -> None:
        raise TrackingError("the store is away")

    with monkeypatch.context() as away:
        away.setattr(delivery, "make_run", refuse)
        handle = nested.child(child, "sweep/0", **facts)
    assert handle.run_id == ""
    assert [record.getMessage() for record in caplog.records if record.name == "masklab.tracking.nested_runs"] == [
        "sweep/0 is not in MLflow yet: the store is away"
    ]
    tracker = MlflowTracker(handle, "trial")
    tracker.log_metrics({"train/loss": 1.0}, 1)
    tracker.finish()
    nested.end(handle, "FINISHED")
    nested.close()
    client = client_of(store.uri)
    (found,) = client.search_runs([nested.parent.experiment_id], f"tags.`{PARENT_TAG}` = '{nested.parent.run_id}'")
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"train/loss": 1.0})
    assert Spool(child.path).is_empty


def test_children_that_a_killed_driver_left_are_ended_by_the_next_one_without_a_server(store: Store) -> None:
    facts = {"params": {"seed": 1}, "tags": {}, "description": ""}
    sweep = begun(store.folder, "sweep")
    nested = NestedRuns(None, sweep, declared("sweep", datasets=[DATASET]))
    children = {word: begun(store.folder, f"sweep/trials/{word}") for word in ("finished", "interrupted")}
    for word, child in children.items():
        nested.child(child, word, **facts)
    again = NestedRuns(None, sweep, declared("sweep", datasets=[DATASET]))
    again.settle({child: word for word, child in children.items()})
    assert [Spool(child.path).status() for child in children.values()] == ["FINISHED", "KILLED"]


def test_a_run_whose_processes_were_killed_is_not_left_as_going_on(store: Store) -> None:
    for name in ("dead", "whole"):
        declare(begun(store.folder, name), declared(name))
    (store.folder / "runs" / "whole" / "summary.json").write_text("{}")
    assert synchronise(SyncConfig(), store.folder) == 0
    client = client_of(store.uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert {run.info.run_name: run.info.status for run in runs} == {"dead": "KILLED", "whole": "FINISHED"}


def test_a_run_whose_driver_was_killed_after_its_last_event_is_finished_by_the_next_one(store: Store) -> None:
    folder = begun(store.folder)
    handle = opened_run(folder, store, declared())
    tracker = MlflowTracker(handle, "driver")
    tracker.log_metrics({"final/loss": 1.0}, 5)
    tracker.finish()
    for _ in range(2):
        settle(folder)
        assert Spool(folder.path).pending() == (0, 1)
    assert synchronise(SyncConfig(), store.folder) == 0
    assert client_of(store.uri).get_run(handle.run_id).info.status == "FINISHED"
    settle(folder)
    assert Spool(folder.path).is_empty, "what has arrived is known"


def test_what_a_later_job_adds_to_a_run_that_was_never_sent_waits_with_it(store: Store) -> None:
    folder = begun(store.folder)
    samples = folder.path / "samples" / "001"
    samples.mkdir(parents=True)
    (samples / "samples.txt").write_text("a text")
    settings, files = StoreSettings(), Artifact(at=0, path=str(samples), folder="samples/001")

    def added(at: int) -> str | None:
        return add(folder, settings, store.folder, Metrics(at=at, step=20, values={"samples/length": 6.0}), files)

    assert added(1) is None, "a run that is not for MLflow has nothing added to it"
    assert Spool(folder.path).is_empty
    opened_run(folder, None, declared())
    assert "the run has not been created yet; make sync sends it" in str(added(2))
    assert synchronise(SyncConfig(), store.folder) == 0
    assert added(3) is None
    client = client_of(store.uri)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [point.step for point in client.get_metric_history(run.info.run_id, "samples/length")] == [20, 20]
    assert {file.path for file in client.list_artifacts(run.info.run_id, "samples/001")} == {"samples/001/samples.txt"}


def test_a_run_that_is_under_way_is_left_alone(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begun(store.folder)
    declare(folder, declared())
    with at_work(folder.path):
        assert synchronise(SyncConfig(), store.folder) == 1
    assert "another process is at work there" in capsys.readouterr().out
    assert synchronise(SyncConfig(), store.folder) == 0


def test_a_run_whose_workers_have_not_come_up_yet_keeps_its_status(store: Store) -> None:
    single, comparison = begun(store.folder, "single"), begun(store.folder, "comparison")
    child = begun(store.folder, "comparison/arms/a/seed-0")
    for folder in (single, child):
        declare(folder, declared(folder.path.name))
    with driving(single.path), alone(comparison.path):
        assert synchronise(SyncConfig(), store.folder) == 0
        assert [Spool(folder.path).status() for folder in (single, child)] == ["RUNNING", "RUNNING"]
    client = client_of(store.uri)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [run.info.status for run in runs] == ["RUNNING", "RUNNING"]


def test_an_unknown_run_is_named(store: Store) -> None:
    begun(store.folder, "mine")
    with pytest.raises(RunError, match=r"run = 'mina': no such run .*did you mean 'mine'"):
        synchronise(SyncConfig(run="mina"), store.folder)


def test_a_folder_from_elsewhere_sends_nobody_to_its_own_address(store: Store, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "downloads" / "theirs")
    folder.begin("tracking:\n  uri: http://127.0.0.1:1/theirs\n")
    declare(folder, declared())
    assert synchronise(SyncConfig(run=str(folder.path)), store.folder) == 0
    ours = begun(store.folder, "ours")
    ours.write("config.yaml", "tracking:\n  uri: http://127.0.0.1:1\n")
    declare(ours, declared())
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:1"):
        synchronise(SyncConfig(run="ours"), store.folder)
