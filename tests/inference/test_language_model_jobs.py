"""`jobs/sample.py` and `jobs/evaluate.py` on a language model, alone and beside a model that fills masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from trained_run import config_for, copy_of, train_into

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import EVALUATE, SAMPLE
from masklab.errors import CheckpointError
from masklab.inference.evaluate import evaluate
from masklab.inference.sample import sample
from masklab.inference.trained_model import TrainedModel
from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.estimate import difference
from masklab.likelihood.nelbo import exact_count_nelbo
from masklab.likelihood.settings import EvaluationSettings
from masklab.likelihood.windows import ScoredWindows
from masklab.text.preparation import corpus_for
from masklab.training.run_folder import RunFolder
from masklab.training.settings import ComputeSettings

CPU = ComputeSettings(device="cpu")
QUICK = ["system.device=cpu", "sampling.num_samples=2", "evaluation.sequences=12", "evaluation.process_sequences=8"]
QUICKER = [
    *QUICK,
    "evaluation.order_sequences=0",
    "evaluation.curve_levels=2",
    "evaluation.curve_sequences=4",
    "evaluation.stage_sequences=4",
]


@pytest.fixture(scope="module")
def causal(trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A language model of the text of the run `tiny`, named `causal`."""
    home = tmp_path_factory.mktemp("causal")
    mode = {"mode": {"type": "language_model"}, "curriculum": {"name": "none", "stages": [{"type": "none"}]}}
    return train_into(home, config_for(trained.path.parent.parent / "tiny.txt", run={"name": "causal"}, **mode))


@pytest.fixture
def home(trained: RunFolder, causal: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own with a copy of both."""
    copy_of(trained, tmp_path)
    copy_of(causal, tmp_path, "causal")
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_sample(home: Path, root: Path, *arguments: str) -> int:
    return main("sample", "", lambda config: sample(config, home), root, ["system.device=cpu", *arguments], SAMPLE)


def run_evaluate(home: Path, root: Path, *arguments: str) -> int:
    return main("evaluate", "", lambda config: evaluate(config, home), root, [*QUICKER, *arguments], EVALUATE)


def kept(home: Path, run: str = "causal", number: str = "001") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((home / f"runs/{run}/evaluations/{number}/evaluation.json").read_text())
    return loaded


def windows(home: Path, causal: TrainedModel, context: int = 1) -> ScoredWindows:
    return ScoredWindows.of(corpus_for(causal.config.dataset, home / ".corpora"), 32, 12, context)


def test_the_run_writes_down_its_sampler(home: Path) -> None:
    assert TrainedModel.open("causal", home, CPU).config.sampling.sampler.strategy == "autoregressive"


def test_texts_go_on_from_the_prompt_beyond_the_block(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["checkpoint=causal", "prompt=the ", "num_samples=3", "sampling.length=80", "watch.html=true"]
    assert run_sample(home, root, *arguments) == 0
    folder = home / "runs/causal/samples/001"
    report = json.loads((folder / "samples.json").read_text())
    assert [len(text) for text in report["texts"]] == [80] * 3 and all(text.startswith("the ") for text in report["texts"])
    assert (report["steps"], report["settings"]["strategy"]) == (76, "autoregressive")
    assert all(76 < positions < 200 for positions in report["network_positions"])
    out = capsys.readouterr().out
    assert "autoregressive, temperature 1" in out and "language_model" in out and "76, each of 1 characters a text" in out
    assert (folder / "unmasking.html").is_file()
    assert run_sample(home, root, *arguments, "sampling.cache=false") == 0
    anew = json.loads((home / "runs/causal/samples/002/samples.json").read_text())
    assert anew["texts"] == report["texts"]
    assert min(anew["network_positions"]) > 4 * max(report["network_positions"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prompt=a[3]b"], "a language model writes only what comes after the given text"),
        (["sampling.strategy=confidence"], "sampling.strategy = confidence: fills masks"),
        (["sampling.steps=8"], "(with steps): fills masks"),
        (["sampling.strategy=autoregressive", "sampling.steps=8"], "sampling.steps: unknown key for autoregressive"),
        (["sampling.strategy=autoregressive", "sampling.stride=33"], "sampling.stride=33 is more than the model's block_size=32"),
    ],
    ids=str,
)
def test_what_means_nothing_here_is_one_line(
    home: Path, root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run_sample(home, root, "checkpoint=causal", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (home / "runs/causal/samples").exists()


def test_models_are_opened_for_what_they_can_do(home: Path) -> None:
    assert TrainedModel.open("causal", home, CPU, "writes").is_causal
    assert not TrainedModel.open("tiny", home, CPU, "fills_masks").is_causal
    with pytest.raises(CheckpointError, match=r"mode\.type=language_model, which fills no masks; take .*mode\.type=token_classifier$"):
        TrainedModel.open("causal", home, CPU, "fills_masks")


def test_the_likelihood_is_exact_on_the_windows_of_the_bounds(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_evaluate(home, root, "checkpoint=causal") == 0
    trained, found = TrainedModel.open("causal", home, CPU), kept(home)
    exact = autoregressive_nll(trained.model, windows(home, trained), 64).estimate
    assert found["bounds"].keys() == {"nll"}
    assert (found["bounds"]["nll"]["nats"], found["bounds"]["nll"]["stderr"]) == (exact.nats, exact.stderr)
    assert (found["curve"], found["stages"], found["context"]) == (None, [], 1)
    assert [row["sampler"] for row in found["samplers"]] == ["autoregressive", "real text"]
    out = capsys.readouterr().out
    assert f"{exact.nats:.4f} ± {exact.stderr:.4f}" in out
    assert "left to right, exact" in out and "are left out" in out and "evaluation.context=1" in out
    assert run_evaluate(home, root, "checkpoint=causal", "evaluation.context=5") == 0
    longer = autoregressive_nll(trained.model, windows(home, trained, 5), 64).estimate
    assert kept(home, number="002")["bounds"]["nll"]["nats"] == longer.nats != exact.nats


@pytest.mark.parametrize(("run", "against", "name"), [("causal", "tiny", "nll"), ("tiny", "causal", "nelbo")])
def test_a_bound_is_compared_with_the_exact_value_on_the_same_characters(
    home: Path, root: Path, capsys: pytest.CaptureFixture[str], run: str, against: str, name: str
) -> None:
    assert run_evaluate(home, root, f"checkpoint={run}", f"against={against}") == 0
    causal, masked = TrainedModel.open("causal", home, CPU), TrainedModel.open("tiny", home, CPU)
    scored = windows(home, causal)
    exact = autoregressive_nll(causal.model, scored, 64)
    bound = exact_count_nelbo(masked.model, scored, EvaluationSettings().seed, 64)
    apart = difference(exact, bound) if run == "causal" else difference(bound, exact)
    found = kept(home, run)["differences"]
    assert found.keys() == {name}
    assert (found[name]["nats"], found[name]["stderr"]) == (pytest.approx(apart.nats), pytest.approx(apart.stderr))
    assert bool(kept(home, run)["stages"]) is (run == "tiny")
    assert "ahead by this much at most" in " ".join(capsys.readouterr().out.split())


def test_a_sampler_of_the_table_that_fills_masks_is_refused(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_evaluate(home, root, "checkpoint=causal", "statistics.samplers=[confidence]") == 2
    error = capsys.readouterr().err
    assert "statistics.samplers: confidence" in error and error.count("\n") == 1
    assert not (home / "runs/causal/evaluations").exists()


def test_the_judge_of_a_sampler_must_fill_masks(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = ["sampling.strategy=remask", "sampling.remask_by=detector", "sampling.detector_checkpoint=causal"]
    assert run_sample(home, root, "checkpoint=tiny", *judged) == 2
    assert "sampling.detector_checkpoint: " in capsys.readouterr().err
    shutil.rmtree(home / "runs/causal")
    assert run_sample(home, root, "checkpoint=tiny", *judged) == 2
