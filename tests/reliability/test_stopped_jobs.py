"""`ray job stop` and a signal to a driver of its own: saved, said, and told to MLflow before the driver is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jobs_of_tests import checkpoints, start, status_in_mlflow, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]
LONG = "training.max_iters=100000"


@pytest.fixture
def home(tmp_path: Path, text: str) -> Path:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_job_that_is_stopped_saves_and_says_so_and_ends_by_itself(home: Path, root: Path, told: Callable[[str], None]) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    paths = [str(root / "platform"), str(root / "tests" / "support")]
    command = [sys.executable, str(root / "tests" / "support" / "stopped_job.py"), str(root), str(home), "stopped", LONG]
    made = subprocess.run(
        command, env=environment | {"PYTHONPATH": os.pathsep.join(paths)}, check=True, capture_output=True, text=True, timeout=280
    )
    seen = json.loads(made.stdout.splitlines()[-1])
    saved = checkpoints(home / "runs" / "stopped")[-1]
    assert seen["job"] == "STOPPED"
    assert f"stopped (SIGTERM); iteration {saved:,} is saved; to go on: python jobs/train.py" in seen["log"]
    assert "Traceback" not in seen["log"]
    told(
        f"ray job stop: {seen['seconds']:.1f} s to its end (Ray kills after 3 s unless told otherwise), {seen['killed_seconds']:.1f} s to "
        f"KILLED in MLflow, saved at iteration {saved}"
    )


def test_a_driver_that_gets_sigterm_ends_in_seconds_and_a_second_signal_ends_it_at_once(
    home: Path, root: Path, told: Callable[[str], None]
) -> None:
    folder = home / "runs" / "driver"
    with start(root, home, "driver", LONG) as driver:
        wait_for(lambda: checkpoints(folder) or driver.poll() is not None, "a checkpoint")
        began = time.monotonic()
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) == 130
        seconds = time.monotonic() - began
    printed = (home / "driver.txt").read_text()
    saved = checkpoints(folder)[-1]
    assert f"stopped (SIGTERM); iteration {saved:,} is saved" in printed
    assert "Traceback" not in printed
    assert status_in_mlflow(home, folder) == "KILLED"
    with start(root, home, "driver", LONG) as driver:  # both while Ray comes up and while it is told to stop
        wait_for(lambda: "resumed" in (home / "driver.txt").read_text().removeprefix(printed) or driver.poll() is not None, "its start")
        os.kill(driver.pid, signal.SIGINT)
        os.kill(driver.pid, signal.SIGINT)
        assert driver.wait(60) == 130
    assert "Traceback" not in (home / "driver.txt").read_text()
    told(f"SIGTERM to a driver with a cluster of its own: {seconds:.1f} s to its end, saved at iteration {saved}")
