"""`jobs/evaluate.py` from its arguments to its files: scores of one model, of two, and of its samplers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from metric_names import unlisted
from mlflow_runs import start_run
from trained_run import copy_of, forge, newest

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import EVALUATE
from masklab.config.jobs.tracking import TrackingSettings
from masklab.inference.evaluate import evaluate
from masklab.inference.trained_model import TrainedModel
from masklab.likelihood.report import likelihood
from masklab.text.preparation import corpus_for
from masklab.text.vocabulary import Vocabulary
from masklab.tracking.mlflow_run import client_of
from masklab.tracking.mlflow_store import Store
from masklab.training.run_folder import RunFolder

QUICK = [
    "system.device=cpu",
    "evaluation.sequences=8",
    "evaluation.process_sequences=8",
    "evaluation.order_sequences=2",
    "evaluation.orders=2",
    "evaluation.curve_levels=2",
    "evaluation.curve_sequences=4",
    "evaluation.stage_sequences=4",
    "sampling.num_samples=2",
    "sampling.steps=2",
]


@pytest.fixture
def home(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own with a copy of the trained run; the text lies where it lay in training."""
    copy_of(trained, tmp_path)
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(home: Path, root: Path, *arguments: str) -> int:
    return main("evaluate", "", lambda config: evaluate(config, home), root, [*QUICK, *arguments], EVALUATE)


def run_tiny(home: Path, root: Path, *arguments: str) -> int:
    return run(home, root, "checkpoint=tiny", *arguments)


def config_of(root: Path, *arguments: str) -> Any:
    seen: list[Any] = []
    assert main("evaluate", "", seen.append, root, [*QUICK, "checkpoint=tiny", *arguments], EVALUATE) == 0
    return seen[0]


def kept(home: Path, number: str = "001") -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((home / f"runs/tiny/evaluations/{number}/evaluation.json").read_text())
    return loaded


def test_text_and_curriculum_are_those_of_the_run_unless_others_are_chosen(home: Path, root: Path, trained: RunFolder) -> None:
    own = config_of(root)
    assert (own.curriculum.name, own.dataset.path) == ("two", str(trained.path.parent.parent / "tiny.txt"))
    assert own.sampling.num_samples == 2
    other = config_of(root, "curriculum=sticky", "dataset=python_docs")
    assert (other.curriculum.name, other.dataset.source, other.dataset.path) == ("sticky", "python_docs", None)
    assert config_of(root, "curriculum.stages.0.max_ratio=0.2").curriculum.stages[0].masking.max_ratio == 0.2


def test_the_scores_are_those_of_the_estimators(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(home, root) == 0
    config, trained = config_of(root), TrainedModel.open("tiny", home, config_of(root).system)
    expected = likelihood(trained.model, corpus_for(config.dataset, home / ".corpora"), 32, config.evaluation)
    bounds, estimate = kept(home)["bounds"], expected.exact_count.estimate
    assert bounds["nelbo"]["nats"] == estimate.nats
    assert bounds["nelbo"]["stderr"] == estimate.stderr
    assert bounds["nelbo"]["bits"] == pytest.approx(estimate.nats / math.log(2))
    assert bounds["nelbo"]["perplexity"] == pytest.approx(math.exp(estimate.nats))
    assert bounds["continuous_time"]["nats"] == expected.continuous_time.estimate.nats
    assert expected.orders and bounds["orders_together"]["nats"] == expected.orders.importance_weighted.estimate.nats
    assert kept(home)["curve"]["mask_ratio"] == [0.5, 1.0]
    assert [stage["title"] for stage in kept(home)["stages"]] == ["random 0-50 %", "diffusion, linear"]
    assert kept(home)["corpus_fingerprint"] == trained.corpus_fingerprint
    assert (home / "runs/tiny/evaluations/001/mask_ratio.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert f"{estimate.nats:.4f} ± {estimate.stderr:.4f}" in out
    assert "notice" not in out


def test_the_number_format_reaches_the_network(home: Path, root: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        assert run_tiny(home, root, f"system.dtype={dtype}") == 0
    exact, rounded = (kept(home, number)["bounds"]["nelbo"]["nats"] for number in ("001", "002"))
    assert exact != rounded
    assert rounded == pytest.approx(exact, abs=0.02)


def test_parts_can_be_left_out(home: Path, root: Path) -> None:
    assert run_tiny(home, root, "evaluation.order_sequences=0", "evaluation.curve_levels=0") == 0
    assert kept(home)["bounds"].keys() == {"nelbo", "continuous_time"}
    assert kept(home)["curve"] is None
    assert not (home / "runs/tiny/evaluations/001/mask_ratio.png").exists()


def test_against_itself_a_model_differs_by_nothing_and_against_an_earlier_one_by_the_difference(home: Path, root: Path) -> None:
    older = min((home / "runs/tiny/checkpoints").iterdir())
    assert run_tiny(home, root, "against=tiny") == 0
    assert run_tiny(home, root, f"against={older}", "evaluation.sequences=512") == 0
    same, other = kept(home), kept(home, "002")
    assert same["differences"]["nelbo"] == {"nats": 0.0, "stderr": 0.0, "bits": 0.0, "bits_stderr": 0.0}
    apart = other["bounds"]["nelbo"]["nats"] - other["against"]["bounds"]["nelbo"]["nats"]
    assert other["differences"]["nelbo"]["nats"] == pytest.approx(apart)
    assert apart < 0  # the older of the two has learnt less


def test_samplers_are_tabled_at_every_number_of_steps_beside_real_text(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(home, root, "statistics.samplers=[stochastic,first_hitting]", "statistics.steps=[1,3]") == 0
    rows = kept(home)["samplers"]
    assert [row["sampler"] for row in rows] == ["stochastic, 1 steps", "stochastic, 3 steps", "first hitting", "real text"]
    assert [row["network_evaluations"] for row in rows[:1]] == [1.0]
    assert rows[2]["network_evaluations"] == 32.0
    assert rows[3]["real_words"] == 1.0 and rows[3]["network_evaluations"] is None
    table = (home / "runs/tiny/evaluations/001/samplers.md").read_text()
    assert len(table.splitlines()) == 6
    out = capsys.readouterr().out
    assert "|" not in out
    assert "sampler 3 of 3: first hitting" in out
    for row in ("stochastic, 3 steps", "real text"):
        numbers = next(line for line in table.splitlines() if f"| {row} |" in line).split(" | ")[-2]
        assert any(line.startswith(row) and numbers in line for line in out.splitlines())


def test_the_keys_of_a_sampler_are_kept_where_it_is_the_one_of_sampling(home: Path, root: Path) -> None:
    more = ["sampling.schedule={type: polynomial, power: 2}", "statistics.samplers=[stochastic]", "statistics.steps=[2]"]
    assert run_tiny(home, root, *more) == 0
    plain = kept(home)["samplers"][0]
    assert run_tiny(home, root, "statistics.samplers=[stochastic]", "statistics.steps=[2]") == 0
    assert plain["divergence"] != kept(home, "002")["samplers"][0]["divergence"]


def test_a_text_that_has_changed_is_told(home: Path, root: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    changed = home / "tiny.txt"
    changed.write_text(text + "and again the letter.\n", encoding="utf-8")
    forged = newest(RunFolder(home / "runs/tiny"))
    config = (forged / "config.yaml").read_text()
    old = next(line for line in config.splitlines() if line.startswith("  path: "))
    forge(forged, config_yaml=config.replace(old, f"  path: {changed}"))
    assert run_tiny(home, root) == 0
    assert "notice  the text has changed since tiny was trained" in capsys.readouterr().out
    assert run_tiny(home, root, "dataset.validation_fraction=0.2") == 0
    assert "notice  tiny was trained on another text, tiny, or on another split" in capsys.readouterr().out


def test_a_text_of_fewer_characters_is_scored_in_the_models_own(home: Path, root: Path, text: str) -> None:
    (home / "some.txt").write_text(text.replace(".", " "), encoding="utf-8")
    assert run_tiny(home, root, f"dataset.path={home}/some.txt") == 0
    assert kept(home)["bounds"]["nelbo"]["nats"] > 0


def tracked(home: Path) -> tuple[Any, str]:
    """The tiny run in MLflow: a client and its id."""
    store = Store.of(TrackingSettings(), home)
    handle = start_run(store, "masklab", run_name="tiny", params={"training": {"block_size": 32}}, tags={})
    RunFolder(home / "runs/tiny").remember(mlflow_run_id=handle.run_id)
    return client_of(store.uri), handle.run_id


def test_metrics_and_files_join_the_run_in_mlflow(home: Path, root: Path) -> None:
    client, run_id = tracked(home)
    assert run_tiny(home, root) == 0
    metrics, history = client.get_run(run_id).data.metrics, client.get_metric_history(run_id, "evaluation/001-two/nelbo_nats")
    assert metrics["evaluation/001-two/nelbo_nats"] == kept(home)["bounds"]["nelbo"]["nats"]
    assert metrics["evaluation/001-two/stage_loss/01"] == kept(home)["stages"][1]["loss"]
    written, real = kept(home)["samplers"]
    assert metrics["evaluation/001-two/sampler_divergence/stochastic_2_steps"] == written["divergence"][-1]
    assert metrics["evaluation/001-two/sampler_network_evaluations/stochastic_2_steps"] == 2.0
    assert metrics["evaluation/001-two/sampler_divergence/real_text"] == real["divergence"][-1]
    assert "evaluation/001-two/sampler_network_evaluations/real_text" not in metrics
    assert [point.step for point in history] == [20]
    assert {Path(item.path).name for item in client.list_artifacts(run_id, "evaluations/001")} == {
        "evaluation.json",
        "samplers.md",
        "mask_ratio.png",
    }


def test_evaluations_of_one_run_stand_beside_each_other_in_mlflow(home: Path, root: Path) -> None:
    client, run_id = tracked(home)
    older = min((home / "runs/tiny/checkpoints").iterdir())
    assert run_tiny(home, root) == 0
    assert run_tiny(home, root, "curriculum=sticky", f"against={older}") == 0
    metrics, second = client.get_run(run_id).data.metrics, kept(home, "002")
    assert metrics["evaluation/001-two/stage_loss/00"] == kept(home)["stages"][0]["loss"]
    assert metrics["evaluation/002-sticky/stage_loss/00"] == second["stages"][0]["loss"]
    assert metrics["evaluation/002-sticky/difference/nelbo_nats"] == second["differences"]["nelbo"]["nats"]
    apart = second["stages"][1]["loss"] - second["against"]["stages"][1]["loss"]
    assert metrics["evaluation/002-sticky/difference/stage_loss/01"] == pytest.approx(apart)
    assert not any(name.startswith("evaluation/001-two/difference") for name in metrics)
    assert not unlisted(metrics)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no checkpoint": ([], "checkpoint: must be given"),
    "unknown other run": (["checkpoint=tiny", "against=tinny"], "did you mean 'tiny'?"),
    "unknown characters": (["checkpoint=tiny", "dataset.path={}/other.txt"], "characters that tiny does not know ('é'"),
    "short text": (["checkpoint=tiny", "dataset.path={}/short.txt"], "fewer than one block"),
    "stage that masks nothing": (
        ["checkpoint=tiny", "curriculum.stages=[{{type: random, max_ratio: 1e-9}}]"],
        "validation stage 0 (random 0-1e-07 %) masks nothing",
    ),
    "unknown sampler": (["checkpoint=tiny", "statistics.samplers=[confidense]"], "unknown sampler 'confidense'"),
    "no steps": (["checkpoint=tiny", "statistics.steps=[0]"], "0 is not a number of steps"),
    "unknown curriculum": (["checkpoint=tiny", "curriculum=stiky"], "did you mean 'sticky'?"),
    "one sequence": (["checkpoint=tiny", "evaluation.sequences=1"], "evaluation.sequences = 1: must be at least 2"),
    "context of a block": (
        ["checkpoint=tiny", "evaluation.context=32"],
        "evaluation.context = 32: tiny was trained on blocks of 32 characters; give fewer",
    ),
    "long prompt": (["checkpoint=tiny", "sampling.prompt=" + "the " * 9], "has 36 characters"),
    "other characters": (["checkpoint=tiny", "against=foreign"], "foreign has other characters than tiny"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    mistake: str, home: Path, root: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "other.txt").write_text("été " * 2000, encoding="utf-8")
    (home / "short.txt").write_text(text[:100], encoding="utf-8")
    foreign = newest(RunFolder(shutil.copytree(home / "runs/tiny", home / "runs/foreign")))
    known = Vocabulary.from_json(json.loads((foreign / "vocabulary.json").read_text()))
    forge(foreign, vocabulary_json=json.dumps(Vocabulary((*known.characters[:-1], "~")).to_json()))
    arguments, words = MISTAKES[mistake]
    assert run(home, root, *(argument.format(home) for argument in arguments)) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert err.startswith("masklab: error: ") and err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not list(home.rglob("evaluations*"))
