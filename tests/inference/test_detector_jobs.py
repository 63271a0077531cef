"""A trained detector is scored, judges for a sampler, and is refused as a writer; each mistake is one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trained_run import config_for, train_into

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.config.jobs.sample import SampleConfig
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, ConfigError, DataError, UserError
from masklab.inference.evaluate import evaluate_text
from masklab.inference.evaluate_classifier import evaluate_detector
from masklab.inference.sample import sample
from masklab.text.preparation import corpus_for
from masklab.training.data.validation_pools import ValidationPool

STAGES = [{"type": "random", "min_ratio": 0.1, "max_ratio": 0.1}, {"type": "sticky", "mask_ratio": 0.3, "p_start": 0.2, "p_extend": 0.8}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """A home with a writer, `tiny`, and a detector, `detector`, of one text."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(text, encoding="utf-8")
    train_into(home, config_for(home / "text.txt"))
    train_into(home, detector(home))
    return home


def detector(home: Path, **sections: dict[str, object]) -> Config:
    own = {"run": {"name": "detector"}, "mode": {"type": "replaced_token_detector"}, "curriculum": {"name": "two", "stages": STAGES}}
    return config_for(home / "text.txt", **own | sections)


def evaluation(home: Path, **keys: object) -> EvaluateConfig:
    config = detector(home).model_dump(mode="json")
    asked = {
        "checkpoint": "detector",
        "dataset": config["dataset"],
        "curriculum": config["curriculum"],
        "system": {"device": "cpu"},
        "evaluation": {"stage_sequences": 20, "batch_size": 7},
    }
    return EvaluateConfig.model_validate(asked | keys)


def sampling(home: Path, checkpoint: str, **keys: object) -> SampleConfig:
    settings = {"strategy": "remask", "steps": 4, "remask_by": "detector", "num_samples": 2} | keys
    return SampleConfig.model_validate(
        {"checkpoint": checkpoint, "sampling": settings, "system": {"device": "cpu"}, "tracking": {"enabled": False}}
    )


def test_metrics_are_the_modes_on_fresh_examples_of_every_stage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = evaluation(home)
    assert evaluate_detector(config, home) == 0
    out = capsys.readouterr().out
    for words in ("balanced accuracy", "AUROC", "ECE", "loss of a constant", "0 random 10 %", "1 sticky 30 %"):
        assert words in out
    report = json.loads((home / "runs/detector/evaluations/001/evaluation.json").read_text())
    run, corpus = detector(home), corpus_for(config.dataset, home / ".corpora")
    for number, stage in enumerate(run.curriculum.stages):
        rows = corpus.validation_rows(32, 20)
        pool = ValidationPool.made(run.mode, stage.masking, rows, corpus.vocabulary, config.evaluation.seed, number)
        assert report["stages"][number]["replaced_share"] == pytest.approx(pool.targets.mean())
        assert report["stages"][number]["constant_balanced_accuracy"] == 0.5
    assert report["overall"]["replaced_share"] == pytest.approx(np.mean([stage["replaced_share"] for stage in report["stages"]]))
    assert set(report["overall"]) == set(report["stages"][0]) - {"title"}


def test_the_batch_size_changes_no_metric(home: Path) -> None:
    reports = []
    for batch_size in (1, 20):
        folder = home / f"by-{batch_size}"
        assert (
            evaluate_detector(evaluation(home, output=str(folder), evaluation={"stage_sequences": 20, "batch_size": batch_size}), home) == 0
        )
        reports.append(json.loads((folder / "001/evaluation.json").read_text())["overall"])
    assert reports[0] == pytest.approx(reports[1], rel=1e-5)


def test_a_detector_judges_in_one_pass_what_a_mask_predictor_takes_two_for(home: Path) -> None:
    passes = {}
    for judge in ("detector", "tiny"):
        assert sample(sampling(home, "tiny", detector_checkpoint=judge), home) == 0
        newest = max((home / "runs/tiny/samples").iterdir())
        passes[judge] = json.loads((newest / "samples.json").read_text())["network_evaluations"]
    assert passes == {"detector": [4 + 3] * 2, "tiny": [4 + 2 * 3] * 2}


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        (lambda home: sample(sampling(home, "detector", detector_checkpoint="tiny"), home), CheckpointError, "which writes no text"),
        (lambda home: evaluate_text(evaluation(home), home), CheckpointError, "which writes no text"),
        (lambda home: evaluate_detector(evaluation(home, against="tiny"), home), ConfigError, "against = tiny"),
        (
            lambda home: evaluate_detector(evaluation(home, curriculum={"name": "none", "stages": [{"type": "none"}]}), home),
            ConfigError,
            "curriculum = none: validation stage 0 replaces nothing",
        ),
        (
            lambda home: evaluate_detector(evaluation(home, curriculum={"stages": [{"type": "random", "max_ratio": 0}]}), home),
            DataError,
            "replaces nothing in 20 windows",
        ),
        (
            lambda home: detector(home, curriculum={"stages": [{"type": "random", "max_ratio": 0}]}).recipe.pools(
                corpus_for(detector(home).dataset, home / ".corpora")
            ),
            DataError,
            "replaces nothing in 6 sequences",
        ),
        (
            lambda home: detector(home, objective={"weighting": "inverse_mask_prob"}),
            ConfigError,
            "objective.weighting = inverse_mask_prob: weighs sequences by how much of them is masked",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(home: Path, asked, error: type[UserError], words: str) -> None:  # type: ignore[no-untyped-def]
    before = sorted(home.rglob("*"))
    with pytest.raises(error) as raised:
        asked(home)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert sorted(home.rglob("*")) == before
