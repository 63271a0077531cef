"""Whole runs on Ray and MLflow: what lies in the run folder and in the store, for one worker and for two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jobs_of_tests import job_function

from masklab.config.command_line.main import main

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

SMALL = [
    "model.n_layer=2",
    "model.n_head=2",
    "model.n_embd=32",
    "training.max_iters=20",
    "training.batch_size=4",
    "training.block_size=32",
    "training.eval_interval=5",
    "training.log_interval=1",
    "training.warmup_iters=2",
    "validation.sequences=6",
    "validation.nelbo_sequences=16",
    "validation.final_nelbo_sequences=32",
    "sampling.steps=4",
    "scaling.cpus_per_worker=1",
    "batches.chunk_steps=4",
]


@pytest.fixture(scope="module")
def run(home: Path, root: Path, ray_cluster: Any) -> Any:
    """Runs `jobs/train.py` in this process; returns the exit status and the run's folder."""

    def train_small(name: str, *overrides: str) -> tuple[int, Path]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MASKLAB_HOME", str(home))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            words = ["dataset=text", f"dataset.path={home}/text.txt", f"run.name={name}", *SMALL, *overrides]
            status = main("train", "", lambda config: job_function(root, "train")(config, words), root, words)
        return status, home / "runs" / name

    return train_small


def summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text()))


def history(home: Path, folder: Path, metric: str) -> dict[int, float]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    run_id = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    return {point.step: point.value for point in client.get_metric_history(run_id, metric)}


@pytest.fixture(scope="module")
def alone(run: Any) -> Path:
    status, folder = run("alone")
    assert status == 0
    return folder


def test_a_run_leaves_its_folder_complete(alone: Path) -> None:
    told = summary(alone)
    assert told["iterations"] == 20 and told["chars"] == 20 * 4 * 32
    assert [s["began_at"] for s in told["stages"]] == [0, 5, 10, 15]
    for name in ("config.yaml", "history.json", "figures/loss.png", "figures/masks.png"):
        assert (alone / name).stat().st_size > 0
    seen = json.loads((alone / "history.json").read_text())["evaluations"]
    best = min(seen, key=lambda evaluation: evaluation["nelbo_nats"])["iteration"]
    assert [p.name for p in sorted((alone / "checkpoints").iterdir())] == [f"step_{at:09d}" for at in sorted({best, 15, 20})]


def test_a_run_is_kept_in_mlflow_with_every_metric_of_the_design(home: Path, alone: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{home}/mlflow.db")
    kept = client.get_run(json.loads((alone / "run.json").read_text())["mlflow_run_id"])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["training.max_iters"] == "20"
    assert {"corpus_fingerprint", "curriculum_hash", "pools_digest"} <= kept.data.tags.keys()
    assert {
        *("train/loss", "train/lr", "train/grad_norm", "val/loss", "val/stage_loss/00", "val/stage_accuracy/03", "val/accuracy"),
        *("val/model_vs_random", "val/mask_ratio", "val/run_length", "val/nelbo_nats", "val/nelbo_bpc", "val/nelbo_stderr"),
        *("curriculum/stage", "curriculum/stale_evals", "curriculum/best_loss", "progress/iters", "progress/chars"),
        *("progress/masked_chars", "perf/chars_per_second", "perf/data_wait_fraction"),
    } <= kept.data.metrics.keys()
    assert kept.data.metrics["final/nelbo_nats"] == summary(alone)["nelbo"]["nats"]
    artifacts = {f.path for folder in (None, "figures", "checkpoint", "samples") for f in client.list_artifacts(kept.info.run_id, folder)}
    assert {"config.yaml", "summary.json", "figures/loss.png", "figures/masks.png", "samples/final.txt"} <= artifacts
    assert "checkpoint/model.safetensors" in artifacts
    assert len(kept.inputs.dataset_inputs) == 1


def test_two_workers_see_the_same_batches_and_lose_the_same(home: Path, alone: Path, run: Any) -> None:
    status, folder = run("together", "scaling.num_workers=2")
    assert status == 0
    assert summary(folder)["batches_digest"] == summary(alone)["batches_digest"]
    one, two = (history(home, f, "train/loss") for f in (alone, folder))
    assert sorted(one) == sorted(two) == list(range(1, 21))
    assert [two[i] for i in one] == pytest.approx([one[i] for i in one], abs=1e-5)
    assert summary(folder)["nelbo"]["nats"] == pytest.approx(summary(alone)["nelbo"]["nats"], abs=1e-5)


def test_the_same_name_again_shows_the_finished_run_and_another_config_is_refused(
    alone: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (alone / "summary.json").read_bytes()
    assert run("alone")[0] == 0
    assert "finished already" in capsys.readouterr().out
    assert run("alone", "model.n_layer=1")[0] == 2
    assert "model.n_layer: 2 -> 1" in capsys.readouterr().err
    assert (alone / "summary.json").read_bytes() == before


def test_an_interrupted_run_goes_on_to_the_same_end(home: Path, alone: Path, run: Any) -> None:
    import shutil

    folder = home / "runs" / "again"
    shutil.copytree(alone, folder)
    shutil.rmtree(folder / "checkpoints" / "step_000000020")
    for name in ("summary.json", "run.json", "spool", "ray"):
        shutil.rmtree(folder / name, ignore_errors=True) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("name: alone", "name: again"))
    status, _ = run("again")
    assert status == 0
    assert summary(folder)["nelbo"] == summary(alone)["nelbo"]
    assert summary(folder)["batches_digest"] == summary(alone)["batches_digest"]
    assert min(history(home, folder, "train/loss")) == 16
