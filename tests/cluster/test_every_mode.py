"""Every mode through every job: trained on Ray, stopped, taken up again by the same command, used, scored, and kept in MLflow."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from jobs_of_tests import job_function
from metric_names import unlisted
from tiers import is_full

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import EVALUATE, PREDICT, SAMPLE, JobTree

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SMALL = (
    *("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.dropout=0.1"),
    *("training.max_iters=8", "training.batch_size=4", "training.block_size=32", "training.warmup_iters=2"),
    *("training.eval_interval=4", "training.log_interval=1", "sampling.length=16", "batches.chunk_steps=2"),
    *("validation.sequences=6", "validation.nelbo_sequences=8", "validation.final_nelbo_sequences=8", "scaling.cpus_per_worker=1"),
)
SCORED = (
    *("evaluation.sequences=8", "evaluation.process_sequences=8", "evaluation.stage_sequences=8", "evaluation.order_sequences=0"),
    *("evaluation.curve_levels=0", "sampling.num_samples=2"),
)


@dataclass(frozen=True)
class Case:
    """A mode, what it is trained on, the job that uses it, and the figures that are told of it."""

    mode: str
    dataset: tuple[str, ...]
    use: str
    figures: tuple[str, ...]
    more: tuple[str, ...] = ()


TEXT = ("dataset=text", "dataset.path={home}/text.txt")
LIKELIHOOD = ("accuracy", "model_vs_random")
DETECTION = ("balanced_accuracy", "auroc", "calibration_error")
SHARE = ("rmse", "r_squared")


def rows(label_type: str) -> tuple[str, ...]:
    return ("dataset=labelled", f"dataset.path={{home}}/{label_type}.csv", f"dataset.label_type={label_type}")


WRITER = Case("token_classifier", TEXT, "sample", LIKELIHOOD)
CASES = {
    "token_classifier": WRITER,
    "language_model": Case("language_model", TEXT, "sample", LIKELIHOOD),
    "replaced_token_detector": Case("replaced_token_detector", TEXT, "judge", DETECTION),
    "sequence_classifier": Case("sequence_classifier", rows("class"), "predict", ("accuracy", "macro_f1")),
    "regression": Case("sequence_classifier", rows("number"), "predict", SHARE),
    "masked_ratio": Case("masked_ratio", TEXT, "predict", SHARE, ("curriculum=uniform", "mode.generator_checkpoint=writer")),
    "token_labeller": Case("token_labeller", rows("per_token"), "predict", ("accuracy", "macro_f1")),
}
RESUMED = ("token_classifier", "masked_ratio")
"""What a short test run stops and takes up again: a mode of characters, and one of labels that needs another run."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(text)
    lines = text.split("\n")[:60]
    labels: dict[str, Callable[[str], object]] = {
        "class": lambda line: "early" if line < lines[30] else "late",
        "number": lambda line: 2000 + line.count("a"),
        "per_token": lambda line: "".join("wb"[not character.isalpha()] for character in line),
    }
    for name, label in labels.items():
        with (home / f"{name}.csv").open("w", newline="") as out:
            csv.writer(out).writerows([("text", "label"), *((line, label(line)) for line in lines if line.strip())])
    return home


@pytest.fixture(scope="module")
def job(home: Path, root: Path, ray_cluster: Any) -> Any:
    """Runs a job of the command line in this process, which must end well."""

    def run(words: list[str], driver: Callable[[Any], int], tree: JobTree | None = None) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MASKLAB_HOME", str(home))
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            assert main("job", "", driver, root, words, **({"tree": tree} if tree else {})) == 0

    return run


@pytest.fixture(scope="module")
def trained(home: Path, root: Path, job: Any) -> Callable[[str, Case], Path]:
    """Trains a case, or goes on with it; the folder of its run."""

    def run(name: str, case: Case) -> Path:
        dataset = [word.format(home=home) for word in case.dataset]
        job([f"mode={case.mode}", *dataset, f"run.name={name}", *SMALL, *case.more], job_function(root, "train"))
        return home / "runs" / name

    return run


@pytest.fixture(scope="module")
def writer(trained: Callable[[str, Case], Path]) -> Path:
    """A mask predictor, which other modes need beside them."""
    return trained("writer", WRITER)


def job_file(root: Path, name: str) -> ModuleType:
    """The file in `jobs` as a module."""
    spec = importlib.util.spec_from_file_location(f"job_{name}", root / "jobs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stop_after_the_first_checkpoint(folder: Path) -> None:
    """Leave what a run leaves that was killed between its two checkpoints."""
    shutil.rmtree(folder / "checkpoints" / "step_000000008")
    (folder / "summary.json").unlink()


def kept(home: Path, folder: Path) -> Any:
    """The run in MLflow."""
    from mlflow.tracking import MlflowClient

    run_id = json.loads((folder / "run.json").read_text())["mlflow_run_id"]
    return MlflowClient(f"sqlite:///{home}/mlflow.db").get_run(run_id)


@pytest.mark.parametrize("name", CASES)
def test_a_mode_goes_through_every_job(name: str, home: Path, root: Path, trained: Any, job: Any, writer: Path) -> None:
    case = CASES[name]
    folder = trained(name, case)
    whole = json.loads((folder / "summary.json").read_text())
    assert whole["iterations"] == 8

    if is_full() or name in RESUMED:
        stop_after_the_first_checkpoint(folder)
        assert trained(name, case) == folder
    again = json.loads((folder / "summary.json").read_text())
    for key in ("batches_digest", "figures", "validation", "nelbo", "sample"):
        assert again[key] == whole[key], key

    run = kept(home, folder)
    assert run.info.status == "FINISHED"
    assert run.data.params["mode.type"] == ("sequence_classifier" if name == "masked_ratio" else case.mode)
    assert run.data.params["run.name"] == name
    assert {"train/loss", "val/loss", *(f"val/{figure}" for figure in case.figures)} <= run.data.metrics.keys()
    assert ("final/nelbo_nats" in run.data.metrics) == (again["nelbo"] is not None) == (case.use == "sample")

    match case.use:
        case "sample":
            job([f"checkpoint={name}", "sampling.length=16"], job_file(root, "sample").run, SAMPLE)
            assert any((folder / "samples").glob("*/*.json"))
        case "judge":
            words = ["checkpoint=writer", "sampling.strategy=remask", "sampling.remask_by=detector", f"sampling.detector_checkpoint={name}"]
            job([*words, "sampling.length=16", "sampling.steps=4"], job_file(root, "sample").run, SAMPLE)
            assert any((writer / "samples").glob("*/*.json"))
        case _:
            job([f"checkpoint={name}", f"dataset.path={home}/class.csv"], job_file(root, "predict").run, PREDICT)
            with next((folder / "predictions").rglob("*.csv")).open(newline="") as lines:
                assert all(row["label"] for row in csv.DictReader(lines))

    job([f"checkpoint={name}", *SCORED], job_file(root, "evaluate").run, EVALUATE)
    assert (folder / "evaluations" / "001" / "evaluation.json").exists()
    logged = kept(home, folder).data.metrics
    assert any(metric.startswith("evaluation/001") for metric in logged), sorted(logged)
    assert not unlisted(logged)
