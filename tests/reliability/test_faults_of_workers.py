"""Workers that are lost or asked to stop: the run goes on by itself, or by the same command, to the same end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs_of_tests import (
    checkpoints,
    figures_in_mlflow,
    kill,
    meanwhile,
    processes,
    status_in_mlflow,
    summary,
    train_here,
    wait_for,
    weights,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, text: str, ray_cluster: Any) -> Path:
    """A place for runs, with a text beside it."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def quiet(home: Path, root: Path) -> Path:
    """The folder of a run that nothing happened to."""
    assert train_here(root, home, "quiet") == 0
    return home / "runs" / "quiet"


def test_a_run_whose_worker_is_killed_twice_goes_on_by_itself_to_the_same_end(
    home: Path, root: Path, quiet: Path, told: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    folder, seconds, lost = home / "runs" / "killed", [], []

    def kill_twice() -> None:
        for after in (5, 30):
            wait_for(lambda after=after: (checkpoints(folder) or [0])[-1] >= after, f"a checkpoint at {after}")  # type: ignore[misc]
            (worker,) = processes("TrainWorker")
            kill(worker)
            saved = checkpoints(folder)[-1]
            seconds.append(wait_for(lambda saved=saved: checkpoints(folder)[-1] > saved, "the next checkpoint"))  # type: ignore[misc]
            lost.append(saved)

    with meanwhile(kill_twice):
        status = train_here(root, home, "killed")
    printed = capfd.readouterr().out
    assert status == 0, printed
    assert printed.count("a worker was lost") == 2
    assert weights(folder) == weights(quiet)
    assert summary(folder)["batches_digest"] == summary(quiet)["batches_digest"]
    for metric in ("train/loss", "val/nelbo_nats"):
        assert figures_in_mlflow(home, folder, metric) == figures_in_mlflow(home, quiet, metric), "none lost, none twice"
    assert status_in_mlflow(home, folder) == "FINISHED"
    assert max(seconds) < 60
    told(f"workers killed: 2; seconds from death to the next checkpoint: {', '.join(f'{each:.1f}' for each in seconds)}; 0 weights differ")


def test_a_run_that_loses_its_worker_too_often_ends_with_the_reason(home: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = home / "runs" / "hopeless"

    def kill_once() -> None:
        wait_for(lambda: checkpoints(folder), "a checkpoint")
        kill(processes("TrainWorker")[0])

    with meanwhile(kill_once):
        status = train_here(root, home, "hopeless", "scaling.max_failures=0", "training.max_iters=2000", "tracking.enabled=false")
    error = capfd.readouterr().err
    assert status == 2
    assert "workers were lost 1 times in a row" in error and "scaling.max_failures" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_a_whole_step_which_is_saved(
    home: Path, root: Path, quiet: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str], told: Callable[[str], None]
) -> None:
    name = f"asked-{number.name}"
    folder, seconds = home / "runs" / name, []

    def ask() -> None:
        wait_for(lambda: checkpoints(folder), "a checkpoint")
        os.kill(os.getpid(), number)
        seconds.append(wait_for(lambda: status_in_mlflow(home, folder) == "KILLED", "the run's status"))

    with meanwhile(ask):
        status = train_here(root, home, name)
    printed = capfd.readouterr().out
    assert status == 130
    saved = checkpoints(folder)[-1]
    assert f"stopped ({number.name}); iteration {saved} is saved; to go on: python jobs/train.py" in printed
    assert status_in_mlflow(home, folder) == "KILLED"
    assert train_here(root, home, name) == 0
    assert weights(folder) == weights(quiet)
    assert status_in_mlflow(home, folder) == "FINISHED"
    told(f"{number.name}: {seconds[0]:.1f} s to the status KILLED in MLflow, saved at iteration {saved} of 60")
