"""Opening what training left: the newest whole checkpoint of a run, and one clear line for whatever cannot be used."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save
from trained_run import config_for, copy_of, forge, newest

from masklab.config.checkpoints.find_checkpoint import find_checkpoint
from masklab.config.compose.yaml_io import dump
from masklab.errors import CheckpointError, ResourceError, RunError, UserError
from masklab.inference.trained_model import TrainedModel
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.sweep.record import SweepRecord
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.checkpoint import Checkpoint
from masklab.training.checkpoint.manifest import MANIFEST, files_of, sealed
from masklab.training.run_folder import RunFolder
from masklab.training.settings import ComputeSettings

CPU = ComputeSettings(device="cpu")


def error_of(reference: object, home: Path, kind: type[UserError] = CheckpointError) -> str:
    with pytest.raises(kind) as caught:
        TrainedModel.open(str(reference), home, CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def home_of(run: RunFolder) -> Path:
    return run.path.parent.parent


def test_a_run_opens_with_its_newest_checkpoint_in_evaluation_mode(trained: RunFolder) -> None:
    model = TrainedModel.open("tiny", home_of(trained), CPU)
    assert (model.checkpoint.path, model.iteration, model.passed_over) == (newest(trained), 20, ())
    assert (model.run, model.block_size, model.name) == (trained, 32, "tiny")
    assert not model.model.training
    assert model.config == config_for(home_of(trained) / "tiny.txt")
    assert model.corpus_fingerprint is not None and len(model.corpus_fingerprint) == 64
    saved = load_file(newest(trained) / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in model.model.state_dict().items())


def test_a_gap_is_filled_from_python(trained: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home_of(trained))
    monkeypatch.delenv("MASKLAB_HOME", raising=False)
    model = TrainedModel.open("tiny")
    texts = model.fill("to[6]be", num_samples=3, seed=1, strategy="confidence", steps=3)
    assert texts == model.fill("to[6]be", num_samples=3, seed=1, strategy="confidence", steps=3)
    assert all(len(text) == 10 and text.startswith("to") and text.endswith("be") for text in texts)
    assert len(texts) == 3 and len(model.fill("to")[0]) == model.block_size


def test_a_run_its_folder_and_its_checkpoint_are_three_names_of_one_model(trained: RunFolder, tmp_path: Path) -> None:
    opened = [TrainedModel.open(str(reference), home_of(trained), CPU) for reference in ("tiny", trained.path, newest(trained))]
    assert {model.checkpoint.path for model in opened} == {newest(trained)}
    assert {model.run for model in opened} == {trained}
    older = min(trained.checkpoints.iterdir())
    assert TrainedModel.open(str(older), tmp_path, CPU).iteration == 10


@pytest.mark.parametrize(
    ("name", "today"), [("Sticky, then random (2)", "Sticky_then_random_2"), ("é", "custom"), ("long" * 50, "long" * 20), ("a.b", "a.b")]
)
def test_an_older_curriculum_may_have_any_name(trained: RunFolder, tmp_path: Path, name: str, today: str) -> None:
    run = copy_of(trained, tmp_path)
    config = yaml.safe_load((newest(run) / "config.yaml").read_text())
    config["curriculum"]["name"] = name
    forge(newest(run), config_yaml=yaml.safe_dump(config))
    assert TrainedModel.open(str(run.path), tmp_path, CPU).config.curriculum.name == today


def test_a_checkpoint_outside_a_run_belongs_to_none(trained: RunFolder, tmp_path: Path) -> None:
    place = newest(copy_of(trained, tmp_path)).rename(tmp_path / "mine")
    model = TrainedModel.open(str(place), tmp_path, CPU)
    assert (model.run, model.name) == (None, "mine")


def test_a_relative_path_is_taken_from_where_the_user_stands(trained: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.path.parent)
    assert TrainedModel.open("./tiny", tmp_path, CPU).run == trained


def test_a_damaged_newest_checkpoint_is_passed_over_by_name_and_reason(trained: RunFolder, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path)
    (newest(run) / "model.safetensors").write_bytes(b"short")
    model = TrainedModel.open("tiny", tmp_path, CPU)
    assert model.iteration == 10
    assert model.passed_over == (
        f"step_000000020: model.safetensors has 5 bytes, not {(newest(trained) / 'model.safetensors').stat().st_size}",
    )
    assert "has 5 bytes" in error_of(newest(run), tmp_path)
    (min(run.checkpoints.iterdir()) / "manifest.json").unlink()
    assert "no intact checkpoint" in error_of("tiny", tmp_path)


def test_the_optimizer_is_never_read(trained: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(Checkpoint, "optimizer", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    TrainedModel.open("tiny", home_of(trained), CPU)


def test_a_wrong_name_lists_the_runs_and_the_nearest(trained: RunFolder, tmp_path: Path) -> None:
    message = error_of("tinny", home_of(trained), RunError)
    assert "no such run" in message and "there are tiny (did you mean 'tiny'?)" in message
    assert "there are none" in error_of("tiny", tmp_path, RunError)
    assert "no such folder" in error_of("some/where", tmp_path, RunError)
    assert "neither a run's folder nor a checkpoint" in error_of(tmp_path, tmp_path, RunError)


@pytest.mark.parametrize(("record", "place"), [(ComparisonRecord.FILE, "arms/sticky/seed-1"), (SweepRecord.FILE, "trials/000")])
def test_a_comparison_and_a_sweep_are_no_runs_but_hold_some(trained: RunFolder, tmp_path: Path, record: str, place: str) -> None:
    runs = copy_of(trained, tmp_path).path.parent
    many = RunFolder(runs / "many")
    many.begin("run: {}\n")
    (many.path / record).write_text("{}")
    assert "which has no checkpoint of its own; none of its runs has a checkpoint yet" in error_of("many", tmp_path, RunError)
    shutil.copytree(trained.path, many.path / place)
    assert f"name one of its runs by its folder: {many.path / place}" in error_of("many", tmp_path, RunError)
    assert f"name one of its runs by its folder: {many.path / place}" in error_of(many.path, tmp_path, RunError)
    assert TrainedModel.open(str(many.path / place), tmp_path, CPU).iteration == 20
    assert error_of("mani", tmp_path, RunError).endswith("there are tiny")


def test_a_checkpoint_without_its_manifest_is_told_what_it_lacks(trained: RunFolder, tmp_path: Path) -> None:
    checkpoint = newest(copy_of(trained, tmp_path))
    (checkpoint / MANIFEST).unlink()
    assert "manifest.json is missing" in error_of(checkpoint, tmp_path)
    moved = checkpoint.rename(tmp_path / "mine")
    assert f"checkpoint {moved}: manifest.json is missing, so its files cannot be verified; copy the whole" in error_of(moved, tmp_path)
    named = moved.rename(tmp_path / "runs" / "mine")
    assert f"checkpoint {named}: manifest.json is missing" in error_of("mine", tmp_path)


def test_an_untrained_run_and_an_untrained_checkpoint_are_told(trained: RunFolder, tmp_path: Path) -> None:
    begun = RunFolder(tmp_path / "runs" / "begun")
    begun.begin("run: {}\n")
    assert "run 'begun' is untrained: no checkpoint yet" in error_of("begun", tmp_path, RunError)
    run = copy_of(trained, tmp_path)
    state = json.loads((newest(run) / "state.json").read_text())
    forge(newest(run), state_json=json.dumps(state | {"iteration": 0}))
    assert "is untrained: it was saved before the first step" in error_of("tiny", tmp_path)


def test_a_file_is_no_checkpoint_and_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"weights": [1.0]}))
    assert "is a file; a checkpoint of masklab is a folder" in error_of(tmp_path / "model.pt", tmp_path)


def damaged_weights(checkpoint: Path, **changes: Any) -> bytes:
    tensors = load_file(checkpoint / "model.safetensors")
    return save({name: changes.get(name.replace(".", "_"), tensor) for name, tensor in tensors.items()})


def test_every_document_that_does_not_fit_is_named(trained: RunFolder, tmp_path: Path) -> None:
    config = (newest(trained) / "config.yaml").read_text()
    vocabulary: dict[str, Any] = json.loads((newest(trained) / "vocabulary.json").read_text())
    fewer = Vocabulary(tuple("abc")).to_json()
    wider = dump(config_for(tmp_path / "tiny.txt", model={"n_layer": 2, "n_head": 2, "n_embd": 64}))
    final_norm = load_file(newest(trained) / "model.safetensors")["final_norm.norm.weight"]
    cases: dict[str, tuple[dict[str, str | bytes | None], str]] = {
        "no config": ({"config_yaml": None}, "config.yaml is not in its manifest.json"),
        "no YAML": ({"config_yaml": "training: ["}, "config.yaml: "),
        "unknown key": ({"config_yaml": config.replace("block_size", "blok_size")}, "did you mean 'block_size'?"),
        "other mode": ({"config_yaml": config.replace("token_classifier", "language_model")}, "mode language_model does not mask"),
        "no vocabulary": ({"vocabulary_json": None}, "vocabulary.json is not in its manifest.json"),
        "no JSON": ({"vocabulary_json": "{"}, "vocabulary.json: "),
        "other specials": ({"vocabulary_json": json.dumps(vocabulary | {"special_tokens": []})}, "special tokens"),
        "fewer characters": ({"vocabulary_json": json.dumps(fewer)}, "vocabulary.json has 3 characters"),
        "other sizes": ({"config_yaml": wider}, "of another architecture"),
        "no safetensors": ({"model_safetensors": b"\x80\x04."}, "model.safetensors cannot be read"),
        "no numbers": ({"model_safetensors": damaged_weights(newest(trained), final_norm_norm_weight=final_norm * torch.nan)}, "diverged"),
        "no state": ({"state_json": "[]"}, "state.json"),
        "no count": ({"state_json": '{"iteration": true}'}, "state.json has iteration True"),
        "deep state": ({"state_json": "[" * 100_000}, "state.json cannot be read"),
        "deep config": ({"config_yaml": "[" * 20_000}, "config.yaml"),
    }
    for name, (files, words) in cases.items():
        run = copy_of(trained, tmp_path / name.replace(" ", "_"))
        forge(newest(run), **files)
        assert words in error_of("tiny", tmp_path / name.replace(" ", "_")), name


def test_an_altered_file_is_found_by_its_hash(trained: RunFolder, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path)
    weights = newest(run) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors is altered (SHA-256 differs)" in error_of(newest(run), tmp_path)


def test_a_device_that_is_not_there_is_told(trained: RunFolder) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ResourceError, match=r"system\.device=cuda"):
        TrainedModel.open("tiny", home_of(trained), ComputeSettings(device="cuda"))


def test_a_checkpoint_of_before_keeps_its_config_readable(trained: RunFolder, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path)
    old = (newest(run) / "config.yaml").read_text().partition("sampling:")[0]
    sampling = "sampling: {num_samples: 1, steps: 64, temperature: 1.0, seed: 0, length: null, prompt: ''}\n"
    forge(newest(run), config_yaml=old + sampling, corpus_json=None)
    found = find_checkpoint("tiny", tmp_path)
    assert found.config().sampling.sampler.strategy == "stochastic"
    assert TrainedModel.open("tiny", tmp_path, CPU).corpus_fingerprint is None


@pytest.mark.parametrize("reference", ["a" * 300, "a" * 100_000, "nul\0byte"])
def test_what_is_no_path_is_one_line(tmp_path: Path, reference: str) -> None:
    with pytest.raises(UserError, match="checkpoint = "):
        TrainedModel.open(reference, tmp_path, ComputeSettings())


def test_a_file_beside_the_manifest_is_not_believed(trained: RunFolder, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path)
    forge(newest(run), corpus_json=None)
    (newest(run) / "corpus.json").write_text('{"fingerprint": "forged"}')
    assert TrainedModel.open("tiny", tmp_path, ComputeSettings(device="cpu")).corpus_fingerprint is None
    files = files_of(newest(run)) | {"../../config.yaml": {"bytes": 1, "sha256": ""}}
    (newest(run) / MANIFEST).write_text(sealed(files))
    assert "which is not in its folder" in error_of(newest(run), tmp_path)


def test_the_best_of_a_run_is_asked_for_behind_its_name(trained: RunFolder, tmp_path: Path) -> None:
    run = copy_of(trained, tmp_path)
    nelbos = {path: Checkpoint(path).state["yardstick"] for path in run.checkpoints.iterdir()}
    best = min(nelbos, key=lambda path: nelbos[path])
    assert find_checkpoint("tiny/best", tmp_path).checkpoint.path == best
    assert find_checkpoint(f"{run.path}/best", tmp_path).checkpoint.path == best
    for path in nelbos:
        forge(path, state_json=json.dumps({**Checkpoint(path).state, "yardstick": None}))
    with pytest.raises(RunError, match="no checkpoint of a step at which it was evaluated; leave out '/best'"):
        find_checkpoint("tiny/best", tmp_path)
    with pytest.raises(RunError, match="no such"):
        find_checkpoint("other/best", tmp_path)
