"""Small runs of `jobs/train.py` for the tests of faults, in this process or in one of their own, and what they leave behind."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SMALL = (
    *("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "training.batch_size=4", "training.block_size=32"),
    *("training.max_iters=60", "training.eval_interval=10", "training.log_interval=1", "training.warmup_iters=2"),
    *("training.checkpoint_interval=5", "validation.sequences=6", "validation.nelbo_sequences=16", "validation.final_nelbo_sequences=32"),
    *("sampling.steps=4", "scaling.cpus_per_worker=1", "batches.chunk_steps=4", "dataset=text"),
)
PATIENCE = 150.0
JOBS = Path(__file__).resolve().parents[2] / "jobs"


def words(home: Path, name: str, *overrides: str) -> list[str]:
    """The command line of the run `name` on the text in `home`."""
    return [*SMALL, f"dataset.path={home}/text.txt", f"run.name={name}", *overrides]


def job_function(root: Path, name: str) -> Callable[..., int]:
    """The function of `jobs/NAME.py`, for the project `root`: it takes a configuration and the words of its command."""
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PROJECT = root  # type: ignore[attr-defined]
    function: Callable[..., int] = module.run
    return function


def train_here(root: Path, home: Path, name: str, *overrides: str) -> int:
    """Train in this process, which is connected to Ray. Returns the exit status."""
    import pytest

    from masklab.config.command_line.main import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKLAB_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        given = words(home, name, *overrides)
        return main("train", "", lambda config: job_function(root, "train")(config, given), root, given)


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` done beside what is done within. Raises what it raises."""
    failures: list[BaseException] = []

    def watched() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=watched, daemon=True)
    thread.start()
    yield
    thread.join(PATIENCE)
    if failures:
        raise failures[0]
    assert not thread.is_alive(), "what was to happen meanwhile has not"


def wait_for(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> float:
    """Wait until `holds()`, and return the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience, f"waited in vain for {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def checkpoints(folder: Path) -> list[int]:
    """The iterations that are saved, in order."""
    return sorted(int(each.name.removeprefix("step_")) for each in folder.glob("checkpoints/step_?????????"))


def processes(title: str) -> list[int]:
    """The descendants of this process whose title holds `title`."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], check=True, capture_output=True, text=True).stdout
    rows = [row.split(None, 2) for row in listed.splitlines()]
    family, grown = {os.getpid()}, 0
    while len(family) > grown:
        grown = len(family)
        family |= {int(pid) for pid, parent, *_ in rows if int(parent) in family}
    return [int(row[0]) for row in rows if int(row[0]) in family and title in row[-1] and row[-1].startswith("ray::")]


def kill(pid: int) -> None:
    """End a process without a chance to tidy up, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in processes(""), "the end of a process")


def start(root: Path, home: Path, name: str, *overrides: str) -> subprocess.Popen[bytes]:
    """Train in a process of its own, on a cluster of its own; what it prints goes to a file in `home`."""
    environment = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    environment |= {"MASKLAB_HOME": str(home), "OMP_NUM_THREADS": "1"}
    log = (home / f"{name}.txt").open("ab")
    command = [sys.executable, str(root / "jobs" / "train.py"), *words(home, name, *overrides)]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def summary(folder: Path) -> dict[str, Any]:
    """What a finished run tells of itself."""
    return dict(json.loads((folder / "summary.json").read_text()))


def weights(folder: Path) -> dict[str, bytes]:
    """The newest checkpoint's weights."""
    from safetensors.numpy import load_file

    newest = max(folder.glob("checkpoints/step_?????????"))
    return {name: value.tobytes() for name, value in load_file(newest / "model.safetensors").items()}


def status_in_mlflow(home: Path, folder: Path) -> str:
    """How the run stands in MLflow."""
    from mlflow.tracking import MlflowClient

    run_id = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    return str(MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run_id).info.status)


def figures_in_mlflow(home: Path, folder: Path, metric: str) -> list[tuple[int, float]]:
    """Each figure that MLflow has, with its step, in order."""
    from mlflow.tracking import MlflowClient

    run_id = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    found = MlflowClient(f"sqlite:///{home}/mlflow.db").get_metric_history(run_id, metric)
    return sorted((point.step, point.value) for point in found)
