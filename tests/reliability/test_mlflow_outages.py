"""A run whose MLflow server fails in the middle, at the end or for ever: every metric value arrives, and arrives once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from tracking_server import OUTAGES, Proxy, mlflow_server

from masklab.config.jobs.sync import SyncConfig
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import TrackingError
from masklab.tracking.mlflow_run import RunHandle, client_of, create_run_record, reach
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.run_registration import opened_run
from masklab.tracking.spool import sender
from masklab.tracking.spool.spool import Spool
from masklab.tracking.spool.sync import synchronise
from masklab.tracking.tracker import NullTracker, Tracker
from masklab.training.run_folder import RunFolder

pytestmark = pytest.mark.timeout(300)
NAMES = 10
PAUSES = {name: getattr(sender, name) for name in ("FIRST_PAUSE", "LONGEST_PAUSE", "GATHERING", "PATIENCE")}
"""Those of a real run; most tests wait for less."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name, value in {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    for name, seconds in {"FIRST_PAUSE": 0.05, "LONGEST_PAUSE": 0.2, "GATHERING": 0.1, "PATIENCE": 0.5}.items():
        monkeypatch.setattr(sender, name, seconds)
    made = Proxy(server)
    yield made
    made.close()


@dataclass
class Training:
    """Steps of a small network, each with its metrics. `told` has the time in ms at which each value was logged, by name and step."""

    tracker: Tracker
    told: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    passes: int = 2
    """Forward and backward passes in a step, of more than a millisecond each."""

    def __post_init__(self) -> None:
        self.model = torch.nn.Sequential(torch.nn.Linear(128, 512), torch.nn.GELU(), torch.nn.Linear(512, 128))
        self.inputs = torch.randn(128, 128, generator=torch.Generator().manual_seed(0))

    def steps(self, first: int, last: int) -> None:
        """Train and log the steps from `first` to before `last`."""
        for step in range(first, last):
            began = time.perf_counter()
            for _ in range(self.passes):
                self.model(self.inputs).square().mean().backward()
            at = time.time_ns() // 1_000_000
            self.tracker.log_metrics({f"train/metric_{i}": value_of(i, step) for i in range(NAMES)}, step)
            done = time.time_ns() // 1_000_000
            self.seconds.append(time.perf_counter() - began)
            self.told |= {(f"train/metric_{i}", step): (at, done) for i in range(NAMES)}


def value_of(i: int, step: int) -> float:
    return float("nan") if (i, step) == (3, 100) else step + i / 16


def begin(home: Path, uri: str, name: str = "run") -> tuple[RunFolder, RunHandle]:
    folder = RunFolder(home / "runs" / name)
    folder.begin(f"tracking:\n  uri: {uri}\n")
    declared = create_run_record("outages", run_name=name, params={"a": {"b": 1}}, tags={"c": "d"}, description="**plan**")
    return folder, opened_run(folder, Store.of(StoreSettings(uri=uri), home), declared)


def check(server: int, run_id: str, training: Training) -> tuple[int, int]:
    """How many values are lost and doubled; each one in the store has its value and the time at which it was logged."""
    client = client_of(f"http://127.0.0.1:{server}")
    kept: Counter[tuple[str, int]] = Counter()
    for i in range(NAMES):
        for point in client.get_metric_history(run_id, f"train/metric_{i}"):
            assert point.value == value_of(i, point.step) or (i, point.step) == (3, 100)
            at, done = training.told[point.key, point.step]
            assert at <= point.timestamp <= done, "the time is that of the step"
            kept[point.key, point.step] += 1
    return len(training.told.keys() - kept.keys()), sum(count - 1 for count in kept.values())


def p99(seconds: list[float]) -> float:
    return float(np.quantile(seconds, 0.99))


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, server: int, proxy: Proxy, outage: str, told: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "PATIENCE", 60.0)  # a server that is there answers, if late where other work runs beside it
    folder, handle = begin(tmp_path, proxy.uri)
    words: list[str] = []
    training = Training(MlflowTracker(handle, "worker", report=words.append))
    training.steps(0, 100)
    proxy.fail(outage)
    training.steps(100, 300)
    proxy.recover()
    training.steps(300, 400)
    training.tracker.finish("FINISHED")
    assert Spool(folder.path).is_empty
    assert len(words) <= 1
    lost, doubled = check(server, handle.run_id, training)
    told(f"MLflow {outage} in the middle: {lost} of {len(training.told)} values lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)
    run = client_of(f"http://127.0.0.1:{server}").get_run(handle.run_id)
    assert (run.info.status, run.data.params, run.data.tags["c"]) == ("FINISHED", {"a.b": "1"}, "d")


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize(("rounds", "passes"), [(2, 2), pytest.param(4, 30, marks=pytest.mark.soak)])
def test_steps_take_as_long_as_without_tracking(
    tmp_path: Path, proxy: Proxy, outage: str, rounds: int, passes: int, told: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(sender, name, seconds)
    quiet, tracked = Training(NullTracker(), passes=passes), Training(NullTracker(), passes=passes)
    for turn in range(rounds):  # in turns, for what else the machine does
        quiet.steps(0, 150)
        _, handle = begin(tmp_path, proxy.uri, f"run{turn}")
        tracked.tracker = MlflowTracker(handle, "worker", report=lambda words: None)
        proxy.fail(outage)
        tracked.steps(0, 150)
        proxy.recover()
        tracked.tracker.finish("FINISHED")
    ratio, median = p99(tracked.seconds) / p99(quiet.seconds), np.median(tracked.seconds) / np.median(quiet.seconds)
    told(
        f"MLflow {outage}: a step takes {ratio:.3f} (p99) and {median:.3f} (median) of what it takes without tracking, "
        f"{1e3 * p99(quiet.seconds):.1f} and {1e3 * np.median(quiet.seconds):.1f} ms, in {len(quiet.seconds)} steps each"
    )
    assert len(tracked.seconds) == len(quiet.seconds) == 150 * rounds


@pytest.mark.parametrize("outage", OUTAGES)
def test_a_run_ends_while_the_server_is_away_and_the_rest_is_sent_later(
    tmp_path: Path, server: int, proxy: Proxy, outage: str, told: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, handle = begin(tmp_path, proxy.uri)
    training = Training(MlflowTracker(handle, "worker", finish_seconds=8, report=lambda words: None))
    training.steps(0, 50)
    proxy.fail(outage)
    training.steps(50, 100)
    (folder.path / "summary.json").write_text("{}")
    training.tracker.log_artifact(folder.path / "summary.json")
    training.tracker.log_text("a sample", "samples/final.txt")
    training.tracker.describe("**done**")
    began = time.monotonic()
    training.tracker.finish("FINISHED")
    seconds = time.monotonic() - began
    if outage not in ("is slow", "dies before it answers"):
        assert not Spool(folder.path).is_empty
    if outage in ("refuses", "hangs", "answers 500"):
        with pytest.raises(TrackingError):
            synchronise(SyncConfig(), tmp_path)
    proxy.recover()
    assert synchronise(SyncConfig(), tmp_path) == 0
    assert synchronise(SyncConfig(), tmp_path) == 0
    assert "no records for MLflow are pending" in capsys.readouterr().out
    lost, doubled = check(server, handle.run_id, training)
    told(f"MLflow {outage} to the end: the run ended in {seconds:.1f} s; {lost} of {100 * NAMES} values lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)
    client = client_of(f"http://127.0.0.1:{server}")
    run = client.get_run(handle.run_id)
    assert (run.info.status, run.data.tags["mlflow.note.content"]) == ("FINISHED", "**done**")
    assert {file.path for file in client.list_artifacts(handle.run_id)} == {"summary.json", "samples"}


@pytest.mark.parametrize("outage", ["refuses", "hangs", "answers 500"])
def test_a_server_that_is_away_at_the_start_is_an_error_in_one_line(tmp_path: Path, proxy: Proxy, outage: str) -> None:
    proxy.fail(outage)
    with pytest.raises(TrackingError, match="tracking") as raised:
        reach(Store.of(StoreSettings(uri=proxy.uri), tmp_path))
    assert "\n" not in str(raised.value)


def test_a_later_part_of_the_run_sends_what_an_earlier_one_left(tmp_path: Path, server: int, proxy: Proxy) -> None:
    folder, handle = begin(tmp_path, proxy.uri)
    first = Training(MlflowTracker(handle, "worker", finish_seconds=0.1, report=lambda words: None))
    first.steps(0, 30)
    proxy.fail("hangs")
    first.steps(30, 60)
    first.tracker.finish("KILLED")
    proxy.recover()
    _, again = begin(tmp_path, proxy.uri)
    assert again.run_id == handle.run_id
    second = Training(MlflowTracker(again, "worker"), told=first.told)
    second.steps(60, 70)
    second.tracker.finish("FINISHED")
    assert Spool(folder.path).is_empty
    assert check(server, handle.run_id, second) == (0, 0)
    assert client_of(proxy.uri).get_run(handle.run_id).info.status == "FINISHED"


def test_a_run_that_is_killed_again_and_again_loses_and_doubles_nothing(
    tmp_path: Path, server: int, proxy: Proxy, told: Callable[[str], None]
) -> None:
    folder, handle = begin(tmp_path, proxy.uri)
    rng = np.random.default_rng(7)
    handed = 0
    for outage in ("dies before it answers", "is slow", "", "answers 500", "dies before it answers"):
        if outage:
            proxy.fail(outage)
        first = max(1, handed - int(rng.integers(0, 40)))  # a resumed run repeats the steps since its newest checkpoint
        passed = proxy.passed if outage == "answers 500" else proxy.passed + int(rng.integers(1, 5))
        handed = max(handed, killed_once(lambda passed=passed: proxy.passed >= passed, tmp_path, proxy.uri, handle.run_id, first))  # type: ignore[misc]
        proxy.recover()
    waiting, _ = Spool(folder.path).pending()
    sent = sum(len(client_of(proxy.uri).get_metric_history(handle.run_id, name)) for name in ("train/loss", "train/lr"))
    assert synchronise(SyncConfig(), tmp_path) == 0
    points = client_of(proxy.uri).get_metric_history(handle.run_id, "train/loss")
    kept = Counter(point.step for point in points)
    lost, doubled = len(set(range(1, handed + 1)) - kept.keys()), sum(kept.values()) - len(kept)
    told(f"MLflow: 5 processes killed, {sent} values sent and {waiting} not: {lost} of {handed} steps lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)
    assert max(kept) <= handed + 1, "a step may have been handed over and not been told"
    assert all(point.value == point.step / 7 for point in points)
    assert client_of(proxy.uri).get_run(handle.run_id).info.status == "KILLED"


def killed_once(is_enough: Callable[[], bool], home: Path, uri: str, run_id: str, first: int) -> int:
    """Start a process that logs from step `first` on, kill it once it has done enough, and return the last step that it told of."""
    command = [sys.executable, str(Path(__file__).parents[1] / "support" / "logging_process.py"), str(home), uri, run_id, str(first)]
    platform = Path(sender.__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(platform)}) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(300)]
        while not is_enough():
            lines.append(process.stdout.readline())
        process.kill()
        lines += process.stdout.readlines()
    return max(int(line) for line in lines if line.endswith(b"\n"))


def test_logging_waits_for_no_answer(tmp_path: Path, proxy: Proxy) -> None:
    _, handle = begin(tmp_path, proxy.uri)
    proxy.fail("hangs")
    tracker = MlflowTracker(handle, "worker", report=lambda words: None)
    for step in range(2000):
        tracker.log_metrics({"train/loss": 1.0}, step)
    passed = proxy.passed
    tracker.finish("KILLED", seconds=0.0)
    assert proxy.passed == passed and not proxy.released.is_set()


def test_an_outage_is_told_once_and_in_words(tmp_path: Path, proxy: Proxy) -> None:
    _, handle = begin(tmp_path, proxy.uri)
    proxy.fail("answers 500")
    words: list[str] = []
    heard = threading.Event()

    def report(line: str) -> None:
        words.append(line)
        heard.set()

    tracker = MlflowTracker(handle, "worker", report=report)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    assert heard.wait(30)
    tracker.finish()
    assert proxy.failed > 1 and len(words) == 1
    assert "does not accept this run's metrics" in words[0] and "\n" not in words[0]
