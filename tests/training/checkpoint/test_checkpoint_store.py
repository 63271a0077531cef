"""Checkpoints are whole or not there, and the newest whole one is used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from masklab.errors import CheckpointError
from masklab.training.checkpoint.checkpoint import load_weights, open_checkpoint
from masklab.training.checkpoint.manifest import flaw_of
from masklab.training.checkpoint.store import CheckpointStore


def saved(folder: Path, *iterations: int) -> CheckpointStore:
    store = CheckpointStore(folder, {"config.yaml": "a: 1\n", "vocabulary.json": "[]"})
    for iteration in iterations:
        model = nn.Linear(3, 2)
        nn.init.constant_(model.weight, float(iteration))
        store.save(iteration, model, {"optimizer": {"state": {}, "param_groups": []}}, {"iteration": iteration})
    return store


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, 7).newest()
    assert checkpoint is not None
    model = nn.Linear(3, 2)
    load_weights(model, checkpoint)
    assert torch.equal(model.weight, torch.full((2, 3), 7.0))
    assert checkpoint.state == {"iteration": 7}
    assert (checkpoint.path / "config.yaml").read_text() == "a: 1\n"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_all_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        checkpoint = saved(tmp_path, 1).newest()
    finally:
        os.umask(before)
    assert checkpoint is not None
    assert {stat.S_IMODE(file.stat().st_mode) for file in checkpoint.path.iterdir()} == {mode}


def test_two_are_kept_and_nothing_partial_is_left(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_000000002", "step_000000003"]


@pytest.mark.parametrize("text", ["[1]", "3", "null", "{", "[" * 100_000])
def test_an_older_state_that_is_none_hinders_no_newer_checkpoint(tmp_path: Path, text: str) -> None:
    store = saved(tmp_path, 1)
    (tmp_path / "step_000000001" / "state.json").write_text(text)
    saved(tmp_path, 2, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_000000002", "step_000000003"]
    assert store.best() is None


def test_the_newest_that_verifies_is_all_that_a_finished_run_keeps(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    store.drop_older()
    assert [p.name for p in tmp_path.iterdir()] == ["step_000000002"]
    store = saved(tmp_path, 3)
    (tmp_path / "step_000000003" / "manifest.json").unlink()
    store.drop_older()
    assert [p.name for p in tmp_path.iterdir()] == ["step_000000002"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json", "config.yaml", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_newest_is_passed_over_for_the_one_before(tmp_path: Path, name: str, damage: str) -> None:
    store = saved(tmp_path, 1, 2)
    victim = tmp_path / "step_000000002" / name
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif damage == "truncate":
        victim.write_bytes(data[:-1])
    else:
        victim.unlink()
    newest = store.newest()
    assert newest is not None and newest.path.name == "step_000000001"
    with pytest.raises(CheckpointError, match="step_000000002"):
        open_checkpoint(victim.parent)


def test_a_partial_directory_is_no_checkpoint(tmp_path: Path) -> None:
    store = saved(tmp_path, 1)
    (tmp_path / ".partial_step_000000002").mkdir()
    (tmp_path / "step_000000003").mkdir()
    newest = store.newest()
    assert newest is not None and newest.path.name == "step_000000001"
    assert "manifest" in str(flaw_of(tmp_path / "step_000000003"))


def test_another_architecture_is_refused_by_the_tensors_names(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, 1).newest()
    assert checkpoint is not None
    with pytest.raises(CheckpointError, match=r"another architecture.*weight is \[2, 3\], the model's \[2, 4\]"):
        load_weights(nn.Linear(4, 2), checkpoint)
    with pytest.raises(CheckpointError, match="bias is unknown"):
        load_weights(nn.Linear(3, 2, bias=False), checkpoint)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        saved(tmp_path / "file" / "checkpoints", 1)
