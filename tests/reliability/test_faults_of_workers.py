"""Workers that are lost or asked to stop: the run goes on by itself, or by the same command, to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.full)])
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_elastic_run_goes_on_with_fewer_workers_and_takes_new_ones_in(home: Path, root: Path, told: Callable[[str], None]) -> None:
    given = ["curriculum=uniform", "training.max_iters=1200", "training.eval_interval=200", "tracking.enabled=false"]
    given += ["model.n_layer=2", "model.n_embd=64", "training.batch_size=8"]  # long enough for a node to come
    assert train_here(root, home, "rigid", *given) == 0
    seen = on_two_nodes(root, "elastic_run", home, "elastic", *given, "scaling.num_workers=[1,2]", "scaling.resize_seconds=2")
    assert seen["status"] == 0
    assert "a worker was lost" in seen["printed"] and "with 1 worker\n" in seen["printed"]
    assert "there is room for more workers; the run goes on" in seen["printed"] and "with 2 workers" in seen["printed"]
    assert seen["digest"] == summary(home / "runs" / "rigid")["batches_digest"]
    told(
        f"elastic: {seen['fewer']:.1f} s from the loss of a node to the next checkpoint with 1 worker, {seen['more']:.1f} s from a new "
        "node to the next checkpoint with 2; batches as in a quiet run"
    )


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["2", "[1,2]"])
def test_a_run_saves_when_a_node_is_about_to_be_taken_away(home: Path, root: Path, workers: str, told: Callable[[str], None]) -> None:
    name = f"preempted-{len(workers)}"
    seen = on_two_nodes(root, "preempted_run", home, name, f"scaling.num_workers={workers}", "training.max_iters=120")
    if workers == "2":
        assert seen["status"] == 130
        assert f"stopped (a node is about to be taken away); iteration {seen['saved']} is saved" in seen["printed"]
        assert status_in_mlflow(home, home / "runs" / name) == "KILLED"
    else:
        assert seen["status"] == 0
        assert "a node is about to be taken away; the run goes on from iteration" in seen["printed"]
    told(f"notice of preemption, scaling.num_workers={workers}: {seen['seconds']:.1f} s until the run was saved, and ended or went on")


def on_two_nodes(root: Path, script: str, home: Path, *words: str) -> dict[str, Any]:
    """What `script` tells of a run on a cluster of two nodes of its own."""
    folder = root / "tests" / "support"
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment |= {"PYTHONPATH": os.pathsep.join([str(root / "platform"), str(folder)])}
    command = [sys.executable, str(folder / f"{script}.py"), str(root), str(home), *words]
    made = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=800)
    assert made.returncode == 0, made.stderr[-3000:]
    return dict(json.loads(next(line for line in made.stdout.splitlines() if line.startswith('{"status"'))))
