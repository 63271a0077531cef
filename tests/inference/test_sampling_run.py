"""`jobs/sample.py` from its arguments to its files, and one clear line for every mistake."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow_runs import start_run
from trained_run import copy_of, forge, newest

from masklab.config.command_line.main import main
from masklab.config.jobs.registry import SAMPLE
from masklab.config.jobs.tracking import TrackingSettings
from masklab.inference.sample import sample
from masklab.inference.trained_model import TrainedModel
from masklab.sampling.generation import sample as texts_of
from masklab.tracking.mlflow_run import client_of
from masklab.tracking.mlflow_store import Store
from masklab.training.run_folder import RunFolder


@pytest.fixture
def home(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of one's own with a copy of the trained run."""
    copy_of(trained, tmp_path)
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(home: Path, root: Path, *arguments: str) -> int:
    return main("sample", "", lambda config: sample(config, home), root, ["system.device=cpu", *arguments], SAMPLE)


def run_tiny(home: Path, root: Path, *arguments: str) -> int:
    return run(home, root, "checkpoint=tiny", "sampling.steps=4", *arguments)


def kept(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "samples.json").read_text())
    return loaded


def test_texts_are_shown_and_kept_as_the_sampler_wrote_them(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(home, root, "prompt=the ", "num_samples=3", "sampling.seed=5") == 0
    out = capsys.readouterr().out
    folder = home / "runs/tiny/samples/001"
    report = kept(folder)
    trained = TrainedModel.open("tiny", home, config_of(home, root).system)
    settings = config_of(home, root, "prompt=the ", "num_samples=3", "sampling.seed=5").sampling
    assert report["texts"] == texts_of(trained.model, trained.vocabulary, 32, settings)
    assert all(text.startswith("the ") and len(text) == 32 for text in report["texts"])
    assert (report["seed"], report["iteration"], report["steps"]) == (5, 20, 4)
    assert report["settings"] == settings.model_dump(mode="json")
    assert [sum(column) for column in zip(*report["written"], strict=True)] == [28, 28, 28]
    assert all(1 <= count <= 4 for count in report["network_evaluations"])
    written = (folder / "samples.txt").read_text()
    for number, text in enumerate(report["texts"], 1):
        assert f"--- text {number} of 3 ---\n{text}\n" in written
        assert f"--- text {number} of 3 ---\n{text}\n" in out
    least, most = (limit(count for row in report["written"] for count in row) for limit in (min, max))
    for words in (
        f"steps                4, each of {least} to {most} characters a text",
        "stochastic, 4 steps, temperature 1",
        "a text, ",
        "characters/s",
        "seed                 5",
        str(folder),
    ):
        assert words in out


def config_of(home: Path, root: Path, *arguments: str) -> Any:
    seen: list[Any] = []
    strings = ["checkpoint=tiny", "system.device=cpu", "sampling.steps=4", *arguments]
    assert main("sample", "", seen.append, root, strings, SAMPLE) == 0
    return seen[0]


def test_earlier_samples_are_never_overwritten(home: Path, root: Path) -> None:
    for seed in (1, 2):
        assert run_tiny(home, root, f"sampling.seed={seed}") == 0
    first, second = (kept(home / f"runs/tiny/samples/{number}") for number in ("001", "002"))
    assert (first["seed"], second["seed"]) == (1, 2)


def test_the_same_command_writes_the_same_texts(home: Path, root: Path) -> None:
    for _ in range(2):
        assert run_tiny(home, root, "num_samples=2") == 0
    assert kept(home / "runs/tiny/samples/001")["texts"] == kept(home / "runs/tiny/samples/002")["texts"]


def test_a_checkpoint_outside_a_run_writes_where_the_user_stands_or_says(home: Path, root: Path) -> None:
    place = shutil.copytree(newest(RunFolder(home / "runs/tiny")), home / "mine")
    assert run(home, root, f"checkpoint={place}", "sampling.steps=2") == 0
    assert (home / "samples/001/samples.txt").is_file()
    assert run(home, root, f"checkpoint={place}", "sampling.steps=2", f"output={home}/there") == 0
    assert (home / "there/001/samples.txt").is_file()


def test_page_and_animation_are_written_when_asked_for(home: Path, root: Path) -> None:
    assert run_tiny(home, root, "watch.html=true", "watch.gif=true") == 0
    folder = home / "runs/tiny/samples/001"
    assert "stochastic, 4 steps" in (folder / "unmasking.html").read_text()
    assert (folder / "unmasking.gif").read_bytes().startswith(b"GIF89a")
    assert run_tiny(home, root) == 0
    assert {path.name for path in (home / "runs/tiny/samples/002").iterdir()} == {"samples.txt", "samples.json"}


def test_the_colours_of_the_animation_tell_what_was_asked(home: Path, root: Path) -> None:
    for by in ("step", "confidence"):
        assert run_tiny(home, root, "watch.gif=true", f"watch.colour_by={by}") == 0
    one, other = ((home / f"runs/tiny/samples/{n}/unmasking.gif").read_bytes() for n in ("001", "002"))
    assert one != other


def test_a_live_view_takes_the_place_of_the_plain_texts(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(home, root, "watch.live=true") == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out and "network evaluations" in out and "--- text" not in out
    assert run_tiny(home, root, "watch.live=false") == 0
    assert "\x1b[" not in capsys.readouterr().out


def test_a_damaged_newest_checkpoint_is_said_to_be_passed_over(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (newest(RunFolder(home / "runs/tiny")) / "model.safetensors").write_bytes(b"x")
    assert run_tiny(home, root) == 0
    out = capsys.readouterr().out
    assert "notice  passing over checkpoint step_000000020: model.safetensors has 1 bytes" in out
    assert "step_000000010 is used" in out
    assert kept(home / "runs/tiny/samples/001")["iteration"] == 10


def test_samples_join_the_run_in_mlflow(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.of(TrackingSettings(), home)
    handle = start_run(store, "masklab", run_name="tiny", params={"training": {"block_size": 32}}, tags={})
    RunFolder(home / "runs/tiny").remember(mlflow_run_id=handle.run_id)
    client = client_of(store.uri)
    assert run_tiny(home, root, "tracking.enabled=false") == 0
    assert not client.list_artifacts(handle.run_id)
    assert run_tiny(home, root) == 0
    added = {item.path for item in client.list_artifacts(handle.run_id, "samples/002")}
    assert added == {"samples/002/samples.txt", "samples/002/samples.json"}
    assert client.get_run(handle.run_id).info.status == "RUNNING"
    assert "notice" not in capsys.readouterr().out


def test_a_store_out_of_reach_is_a_notice_and_no_failure(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(home / "runs/tiny").remember(mlflow_run_id="0" * 32)
    assert run_tiny(home, root) == 0
    assert re.search(
        r"^notice  not added to the run in MLflow yet: there is no tracking store .*mlflow\.db; make sync sends it$",
        capsys.readouterr().out,
        re.M,
    )
    assert not (home / "mlflow.db").exists()
    assert run_tiny(home, root, "tracking.uri=http://127.0.0.1:1") == 0
    assert "notice  not added to the run in MLflow yet: no tracking server" in capsys.readouterr().out


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no checkpoint": ([], "checkpoint: must be given"),
    "unknown run": (["checkpoint=tinny"], "did you mean 'tiny'?"),
    "pickled file": (["checkpoint={}/model.pt"], "is a file; a checkpoint of masklab is a folder"),
    "untrained run": (["checkpoint=begun"], "run 'begun' is untrained"),
    "untrained checkpoint": (["checkpoint=zero"], "is untrained"),
    "truncated": (["checkpoint=truncated"], "has 100 bytes, not"),
    "altered": (["checkpoint=altered"], "is altered (SHA-256 differs)"),
    "zero steps": (["checkpoint=tiny", "sampling.steps=0"], "sampling.steps = 0: must be at least 1"),
    "negative temperature": (["checkpoint=tiny", "sampling.temperature=-1"], "sampling.temperature = -1: must be at least 0"),
    "top_p over 1": (["checkpoint=tiny", "sampling.top_p=1.5"], "sampling.top_p = 1.5: must be at most 1"),
    "no texts": (["checkpoint=tiny", "num_samples=0"], "sampling.num_samples = 0: must be at least 1"),
    "unknown strategy": (["checkpoint=tiny", "sampling.strategy=stochastik"], "did you mean 'stochastic'?"),
    "unknown key": (["checkpoint=tiny", "sampling.temprature=1"], "did you mean 'temperature'?"),
    "key of another sampler": (["checkpoint=tiny", "sampling.strategy=first_hitting", "sampling.steps=3"], "it belongs to stochastic"),
    "long prompt": (["checkpoint=tiny", "prompt=" + "the " * 9], "has 36 characters"),
    "unknown character": (["checkpoint=tiny", "prompt=été"], "'é' (U+00E9) at offset 0"),
    "long text": (["checkpoint=tiny", "sampling.length=33"], "sampling.length=33 is more than the model's block_size=32"),
    "two prompts": (["checkpoint=tiny", "prompt=a", "sampling.prompt=the"], "prompt=a and sampling.prompt=the are two spellings"),
    "unwritable output": (["checkpoint=tiny", "output={}/model.pt/x"], "give another with output=FOLDER"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(mistake: str, home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "model.pt").write_bytes(pickle.dumps([1.0]))
    RunFolder(home / "runs/begun").begin("run: {}\n")
    damage(home)
    arguments, words = MISTAKES[mistake]
    assert run(home, root, *(argument.format(home) for argument in arguments)) == 2
    out, err = capsys.readouterr()
    assert err.startswith("masklab: error: ") and err.count("\n") == 1 and not out
    assert words in err
    assert not list(home.rglob("samples*"))


def damage(home: Path) -> None:
    """Runs whose only checkpoint is untrained, truncated or altered."""
    for name in ("zero", "truncated", "altered"):
        copy = RunFolder(shutil.copytree(home / "runs/tiny", home / "runs" / name))
        shutil.rmtree(min(copy.checkpoints.iterdir()))
        weights = newest(copy) / "model.safetensors"
        content = weights.read_bytes()
        if name == "zero":
            forge(newest(copy), state_json=json.dumps({"iteration": 0}))
        else:
            weights.write_bytes(content[:100] if name == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))


def test_a_second_checkpoint_judges_what_is_masked_again(home: Path, root: Path) -> None:
    shutil.copytree(home / "runs/tiny", home / "runs/judge")
    by = ["sampling.strategy=remask", "num_samples=2", "sampling.remask_by=detector"]
    assert run_tiny(home, root, *by, "sampling.detector_checkpoint=judge") == 0
    assert run_tiny(home, root, "sampling.strategy=remask", "num_samples=2") == 0
    judged, alone = (kept(home / f"runs/tiny/samples/00{n}") for n in (1, 2))
    assert judged["texts"] != alone["texts"]
    # each of the four steps but the last asks the judge about either fold
    assert judged["network_evaluations"] == [4 + 3 * 2] * 2
    assert alone["network_evaluations"] == [4] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sampling.remask_by=detector"], "detector_checkpoint"),
        (["sampling.remask_by=detector", "sampling.detector_checkpoint=nobody"], "no such run"),
        (["sampling.detector_checkpoint=tiny"], "detector_checkpoint is not used by remask_by=entropy"),
    ],
)
def test_a_judge_that_is_not_there_is_one_line(
    home: Path, root: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run_tiny(home, root, "sampling.strategy=remask", *arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (home / "runs/tiny/samples").exists()


def test_a_checkpoint_from_elsewhere_reads_no_environment_and_names_no_server(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKLAB_TEST_SECRET", "hunter2")
    place = shutil.copytree(newest(RunFolder(home / "runs/tiny")), home / "handed")
    config = (place / "config.yaml").read_text()
    evil = config.replace("  uri: null", "  uri: http://127.0.0.1:9/${oc.env:MASKLAB_TEST_SECRET}")
    assert evil != config
    forge(place, config_yaml=evil)
    assert tracked_at(home, root, place) is None
    forge(newest(RunFolder(home / "runs/tiny")), config_yaml=evil)
    # a run of one's own is tracked where it was, but its texts are texts
    assert tracked_at(home, root, "tiny") == "http://127.0.0.1:9/${oc.env:MASKLAB_TEST_SECRET}"


def tracked_at(home: Path, root: Path, checkpoint: object) -> str | None:
    seen: list[Any] = []
    assert main("sample", "", seen.append, root, [f"checkpoint={checkpoint}"], SAMPLE) == 0
    uri: str | None = seen[0].tracking.uri
    return uri


def test_a_prompt_that_is_not_utf_8_is_one_line(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tiny(home, root, "sampling.unknown=drop", "prompt=a\udcff") == 2
    assert "not UTF-8" in capsys.readouterr().err
    assert not (home / "runs/tiny/samples").exists()


def test_a_block_beyond_the_models_is_refused_before_anything_is_made(home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, root, "checkpoint=tiny", "sampling.strategy=semi_autoregressive", "sampling.block_length=33") == 2
    assert "sampling.block_length=33 is more than the model's block_size=32" in capsys.readouterr().err
    assert not (home / "runs/tiny/samples").exists()
