"""Drivers that are killed at any moment, without a chance to tidy up: the same command, repeated, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_comparison import words

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
TUNE = (
    'sweep.space={training.learning_rate: "choice(1e-2,1e-3,1e-4)"}',
    *("sweep.search=grid", "sweep.parallel=2", "training.max_iters=60", "training.eval_interval=5", "training.checkpoint_interval=1"),
)
COMPARE = ("compare.curricula=[sticky]", "compare.controls=[uniform]", "compare.seeds=2", "compare.parallel=2")
NAME = "killed"


@dataclass(frozen=True)
class Job:
    """A command, its home, and where in its folder the runs that it trains lie."""

    command: tuple[str, ...]
    home: Path
    runs: str

    @property
    def folder(self) -> Path:
        return self.home / "runs" / NAME

    def files(self, pattern: str) -> list[Path]:
        return list(self.folder.glob(f"{self.runs}/{pattern}"))

    def summaries(self) -> dict[Path, bytes]:
        """What each finished run has written."""
        return {path: path.read_bytes() for path in self.files("summary.json")}

    def run(self, until: Callable[[], object] = lambda: False) -> int:
        """Its exit status; it is killed, and so are not what it started, as soon as `until` holds."""
        log = (self.home / "log.txt").open("a")
        environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        environment |= {"MASKLAB_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(self.command, stdout=log, stderr=log, env=environment) as process:
            while process.poll() is None and not until():
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        return process.returncode

    def kept(self) -> tuple[list[Any], list[Any]]:
        """The parents and the children that MLflow holds."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.home}/mlflow.db")
        kept = list(client.search_runs([each.experiment_id for each in client.search_experiments()]))
        return [run for run in kept if "mlflow.parentRunId" not in run.data.tags], [
            run for run in kept if "mlflow.parentRunId" in run.data.tags
        ]

    def ends_well(self, finished: dict[Path, bytes], children: int) -> None:
        """Check that all runs are there, once, and that those that were `finished` before have not been touched."""
        assert self.run() == 0, (self.home / "log.txt").read_text()[-3000:]
        assert finished.items() <= self.summaries().items(), "a finished run was repeated"
        assert len(self.summaries()) == children
        parents, kept = self.kept()
        assert (len(parents), len(kept)) == (1, children)
        assert {run.info.status for run in (*parents, *kept)} == {"FINISHED"}
        assert {run.data.tags["mlflow.parentRunId"] for run in kept} == {parents[0].info.run_id}
        assert all(json.loads((path.parent / "run.json").read_text())["mlflow_run_id"] for path in finished)


@pytest.fixture
def sweep(tmp_path: Path, root: Path, text: str) -> Job:
    return job(tmp_path, root, text, "tune", "trials/*", TUNE)


@pytest.fixture
def comparison(tmp_path: Path, root: Path, text: str) -> Job:
    return job(tmp_path, root, text, "compare", "arms/*/*", COMPARE)


def job(home: Path, root: Path, text: str, name: str, runs: str, own: tuple[str, ...]) -> Job:
    (home / "text.txt").write_text(text, encoding="utf-8")
    shared = [word for word in words(home) if not word.startswith("compare.")]
    given = [*(words(home) if name == "compare" else shared), *own, f"run.name={NAME}"]
    return Job((sys.executable, str(root / "jobs" / f"{name}.py"), *given), home, runs)


@pytest.mark.slow
def test_a_sweep_that_is_killed_within_its_trials_and_after_one_ends_as_if_it_had_not_been(sweep: Job) -> None:
    assert sweep.run(until=lambda: sweep.files("checkpoints/step_*")) == -signal.SIGKILL
    known = {run.info.run_id for run in sweep.kept()[1]}
    before = sweep.summaries()
    assert sweep.run(until=lambda: len(sweep.files("summary.json")) > len(before)) == -signal.SIGKILL
    assert known <= {run.info.run_id for run in sweep.kept()[1]}
    sweep.ends_well(sweep.summaries(), children=3)


@pytest.mark.slow
def test_a_comparison_that_is_killed_within_its_runs_ends_as_if_it_had_not_been(comparison: Job) -> None:
    assert comparison.run(until=lambda: comparison.files("summary.json")) == -signal.SIGKILL
    assert "RUNNING" in {run.info.status for runs in comparison.kept() for run in runs}
    comparison.ends_well(comparison.summaries(), children=4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "children"), [("sweep", 3), ("comparison", 4)])
def test_whenever_a_driver_is_killed_the_same_command_ends_as_if_it_had_not_been(
    request: pytest.FixtureRequest, name: str, children: int, seed: int
) -> None:
    killed: Job = request.getfixturevalue(name)
    generator, finished = random.Random(seed), {}
    for _ in range(6):
        deadline = time.monotonic() + generator.uniform(3, 30)
        if killed.run(until=lambda deadline=deadline: time.monotonic() > deadline) != -signal.SIGKILL:  # type: ignore[misc]
            break
        finished |= {path: held for path, held in killed.summaries().items() if path not in finished}
    killed.ends_well(finished, children)
