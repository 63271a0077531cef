"""What a driver does when it is to end, or when nothing can be told any more; without a cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from masklab.cluster import connection
from masklab.cluster.connection import Share
from masklab.cluster.train import driver
from masklab.cluster.train.driver import StopMessage, announce_stop
from masklab.cluster.workers import batch_producer, worker_group
from masklab.curriculum.curriculum import Curriculum
from masklab.errors import DataError
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.corpus import TokenCorpus
from masklab.training.data.batch import BatchKey
from masklab.training.data.batch_maker import BatchMaker, LocalSource
from masklab.training.events import RunStopped
from masklab.training.settings import BatchSettings, ObjectiveSettings
from masklab.training.stop import StopRequest


def test_an_announcement_under_way_is_waited_for_and_later_ones_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    begun, goes_on = threading.Event(), threading.Event()
    statuses: list[str] = []

    def set_status(status: str) -> None:
        begun.set()
        goes_on.wait(30)
        statuses.append(status)

    tracker: Any = SimpleNamespace(set_status=set_status)
    request = StopRequest()
    with announce_stop(request, tracker, "python jobs/train.py run.name=a"):
        request.ask("SIGTERM")
        assert begun.wait(30)
        threading.Timer(0.05, goes_on.set).start()
    assert statuses == ["KILLED"]
    assert "SIGTERM: the run saves" in (said := capsys.readouterr().out) and "to go on: python jobs/train.py run.name=a" in said
    late = StopRequest()
    with announce_stop(late, tracker, ""):
        pass
    late.ask("SIGTERM")
    for thread in threading.enumerate():
        if thread.name == "masklab-stop-message":
            thread.join(30)
    assert statuses == ["KILLED"] and not capsys.readouterr().out


def test_the_command_that_goes_on_is_told_without_a_password(capsys: pytest.CaptureFixture[str]) -> None:
    message = StopMessage("a", ["training.max_iters=20", "tracking.uri=http://me:pass@host:5000"])
    message.print_once(RunStopped(1200, "SIGINT"))
    message.print_once(RunStopped(1200, "SIGINT"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("stopped (SIGINT); iteration 1,200 is saved; to go on: python jobs/train.py training.max_iters=20 ")
    assert "@host:5000" in line and "pass" not in line and line.endswith("run.name=a")


def test_a_signal_before_the_run_has_begun_ends_the_driver_as_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def connect(*_: Any) -> bool:
        signal.signal(signal.SIGTERM, lambda number, _frame: os._exit(number))  # as Ray does
        return False

    def look(_config: Any) -> Share:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        raise AssertionError("the signal has not come")

    config = SimpleNamespace(scaling=SimpleNamespace(ray_logs=False))
    plan: Any = SimpleNamespace(folder=SimpleNamespace(is_finished=False), corpus=None, store=None, config=config)
    monkeypatch.setattr(connection, "connect", connect)
    monkeypatch.setattr(driver, "share_for", look)
    monkeypatch.setattr(driver, "_load_what_comes_next", lambda _: None)
    try:
        with pytest.raises(KeyboardInterrupt), driver.connect(plan, tmp_path):
            pass
    finally:
        signal.signal(signal.SIGTERM, before)


class Unheard:
    """Workers whose events nobody can handle; they end once they are asked to, unless they are `deaf`."""

    deaf = False
    asked: list[str]

    def __init__(self, *_: Any) -> None:
        self.over, self.started, self.stopped, self.stopped_at = threading.Event(), True, None, 0.0
        self.consumer = SimpleNamespace(failure=DataError("the disk is full"), abandon=lambda: None)
        type(self).asked = []

    def ask(self, reason: str) -> None:
        self.asked.append(reason)
        if not self.deaf:
            self.over.set()

    def abort(self) -> None:
        self.asked.append("at once")

    def close(self) -> None:
        raise self.consumer.failure


@pytest.mark.parametrize("deaf", [False, True])
def test_workers_whose_events_cannot_be_handled_are_stopped(deaf: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(worker_group, "WorkerGroup", Unheard)
    monkeypatch.setattr(Unheard, "deaf", deaf)
    spec: Any = None
    with pytest.raises(DataError, match="the disk is full"):
        worker_group.run_workers(spec, Share(1, 1, 0), tmp_path, lambda _: None, grace=0.0 if deaf else 60.0)
    assert Unheard.asked == [worker_group.UNHEARD, "at once"]


def test_a_producer_that_nobody_has_asked_is_not_taken_for_one_that_hangs(corpus: TokenCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    curriculum = Curriculum.model_validate({"stages": [{"type": "random", "max_ratio": 0.3}, {"type": "diffusion"}]})
    texts = corpus.training_rows(32, "anywhere")
    maker = BatchMaker(TokenClassifier(), texts, corpus.vocabulary, curriculum, ObjectiveSettings(), 3, 4)
    clock = [0.0]
    monkeypatch.setattr(batch_producer, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(batch_producer, "ray", SimpleNamespace(wait=lambda asked, timeout: ([], asked), kill=lambda *_, **__: None))
    silent = SimpleNamespace(chunk=SimpleNamespace(remote=lambda *_: object()))
    window = batch_producer.PullWindow(lambda: silent, LocalSource(maker, 0, 4), BatchSettings(chunk_steps=4))
    killed = []
    for at, key in ((0.0, (0, 0)), (0.0, (0, 1)), (50.0, (0, 4)), (100.0, (1, 8)), (150.0, (1, 12)), (170.0, (1, 16))):
        clock[0] = at
        window.take(BatchKey(*key))
        killed.append(window.killed)
    assert killed == [0, 0, 0, 0, 0, 1], "a stage that begins asks anew"
