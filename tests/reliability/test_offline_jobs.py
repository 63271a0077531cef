"""Whole jobs on Ray with tracking.offline=true: nothing is sent, and `jobs/sync.py` sends all of it afterwards, once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs_of_tests import job_function, train_here

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import COMPARE, TUNE
from masklab.tracking.mlflow_run import PARENT_TAG, client_of
from masklab.tracking.spool.spool import Spool
from masklab.tracking.spool.sync import spools_beneath

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
OFFLINE = "tracking.offline=true"
SMALL = (
    *("dataset=text", "model.n_layer=1", "model.n_head=2", "model.n_embd=16", "training.batch_size=4", "training.block_size=32"),
    *("training.eval_interval=5", "training.warmup_iters=2", "validation.sequences=6", "validation.nelbo_sequences=16"),
    *("validation.final_nelbo_sequences=32", "sampling.steps=4", OFFLINE),
)


@pytest.fixture
def home(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def sync(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(root / "jobs/sync.py"), *words], capture_output=True, text=True, check=False)


def kept(home: Path) -> list[Any]:
    client = client_of(f"sqlite:///{home}/mlflow.db")
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def test_a_run_that_was_trained_offline_is_sent_as_it_would_have_been(
    home: Path, root: Path, ray_cluster: Any, capfd: pytest.CaptureFixture[str], told: Callable[[str], None]
) -> None:
    assert train_here(root, home, "apart", OFFLINE) == 0
    assert not (home / "mlflow.db").exists()
    folder = home / "runs" / "apart"
    assert f"make sync ARGS=run={folder}" in capfd.readouterr().out
    values, others = Spool(folder).pending()
    away = sync(root, "run=apart", "tracking.uri=http://127.0.0.1:1")
    assert away.returncode == 2 and away.stderr.count("\n") == 1 and "no tracking server" in away.stderr
    first, second = sync(root, "run=apart"), sync(root)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert f"{values:,} metric values and {others:,} other records sent, of 1 runs" in first.stdout
    assert "no records for MLflow are pending" in second.stdout
    (run,) = kept(home)
    assert (run.info.run_name, run.info.status) == ("apart", "FINISHED")
    client = client_of(f"sqlite:///{home}/mlflow.db")
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert Counter(point.step for point in points) == Counter(range(1, 61))
    assert run.data.params["training.max_iters"] == "60" and {"curriculum_hash", "pools_digest"} <= run.data.tags.keys()
    files = {file.path for place in (None, "checkpoint", "figures") for file in client.list_artifacts(run.info.run_id, place)}
    assert {"config.yaml", "summary.json", "checkpoint/model.safetensors", "figures/loss.png", "figures/masks.png"} <= files
    sent = sum(len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics)
    told(f"offline run: {values - sent} of {values} values lost or doubled by sync")
    assert sent == values


@pytest.mark.slow
def test_a_comparison_that_was_made_offline_is_sent_with_its_runs(home: Path, root: Path, ray_cluster: Any) -> None:
    own = ("compare.curricula=[sticky]", "compare.controls=[uniform]", "compare.seeds=2", "compare.budget.max_chars=1280")
    own += ("compare.curve_levels=2", "compare.curve_sequences=4", "training.eval_interval=2")
    line = [*SMALL, *own, f"dataset.path={home}/text.txt", "run.name=pair"]
    assert main("compare", "", lambda config: job_function(root, "compare")(config, line), root, line, tree=COMPARE) == 0
    nested_and_finished(home, root, "pair", 4)


@pytest.mark.slow
def test_a_sweep_that_was_made_offline_is_sent_with_its_trials(home: Path, root: Path, ray_cluster: Any) -> None:
    own = ('sweep.space={training.learning_rate: "choice(1e-2,1e-3)"}', "sweep.search=grid", "training.max_iters=10")
    line = [*SMALL, *own, f"dataset.path={home}/text.txt", "run.name=rates"]
    assert main("tune", "", lambda config: job_function(root, "tune")(config, line), root, line, tree=TUNE) == 0
    nested_and_finished(home, root, "rates", 2)


def nested_and_finished(home: Path, root: Path, name: str, children: int) -> None:
    """Check that a parent and its children wait, are sent, and are then in MLflow as if they always had been."""
    assert not (home / "mlflow.db").exists()
    assert len(list(spools_beneath(home / "runs" / name))) == 1 + children
    told = sync(root)
    assert told.returncode == 0, told.stdout + told.stderr
    assert not list(spools_beneath(home / "runs"))
    runs = kept(home)
    (parent,) = (run for run in runs if PARENT_TAG not in run.data.tags)
    assert parent.info.run_name == name and len(runs) == 1 + children
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags[PARENT_TAG] for run in runs if run is not parent} == {parent.info.run_id}
    assert all("train/loss" in run.data.metrics for run in runs if run is not parent)
    client = client_of(f"sqlite:///{home}/mlflow.db")
    assert "table.md" in {file.path for file in client.list_artifacts(parent.info.run_id)}
