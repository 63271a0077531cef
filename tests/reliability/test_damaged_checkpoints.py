"""Any change to any byte of a checkpoint is found, and the one before is used; what a disk refuses leaves nothing behind."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import random
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiers import share
from torch import nn

from masklab.errors import CheckpointError
from masklab.training.checkpoint.async_saver import AsyncSaver, Snapshot, _has_room
from masklab.training.checkpoint.checkpoint import open_checkpoint
from masklab.training.checkpoint.manifest import DAMAGED, FORMAT, MANIFEST, files_of, flaw_of, sealed
from masklab.training.checkpoint.store import DAMAGED_KEPT, CheckpointStore

CHANGES = share(1000, one_in=7)
DOCUMENTS = {"config.yaml": "training:\n  max_iters: 20\n", "vocabulary.json": '["a", "b"]', "corpus.json": '{"fingerprint": "f"}'}


def saved(folder: Path, *iterations: int, figures: dict[int, float] | None = None) -> CheckpointStore:
    store = CheckpointStore(folder, DOCUMENTS)
    for iteration in iterations:
        model = nn.Linear(30, 20)
        nn.init.constant_(model.weight, float(iteration))
        moments = {"optimizer": {"state": {0: {"exp_avg": torch.zeros(20, 30)}}, "param_groups": []}}
        store.save(iteration, model, moments, {"iteration": iteration, "yardstick": (figures or {}).get(iteration)})
    return store


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_change_of_a_byte_and_every_truncation_is_found_and_the_checkpoint_before_is_used(
    tmp_path: Path, told: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    store = saved(tmp_path, 1, 2)
    newest, aside = tmp_path / "step_000000002", tmp_path / f"{DAMAGED}step_000000002"
    files = sorted(path.name for path in newest.iterdir())
    generator, found, used = random.Random(0), Counter[str](), 0
    for number in range(CHANGES):
        name = files[number % len(files)]
        whole = (newest / name).read_bytes()
        at = generator.randrange(len(whole))
        if is_cut := generator.random() < 0.2:
            changed = whole[:at]
        else:
            changed = whole[:at] + bytes([whole[at] ^ generator.randint(1, 255)]) + whole[at + 1 :]
        (newest / name).write_bytes(changed)
        recovery = store.recover()
        assert recovery.checkpoint is not None and recovery.checkpoint.path.name == "step_000000001", f"{name}, byte {at}"
        (flaw,) = recovery.set_aside
        assert flaw.startswith("step_000000002: ") and (name in flaw or name == MANIFEST)
        assert recovery.checkpoint.state["iteration"] == 1 and torch.equal(recovery.checkpoint.tensors()["weight"], torch.ones(20, 30))
        found["truncations" if is_cut else "changes"] += 1
        used += 1
        aside.rename(newest)
        (newest / name).write_bytes(whole)
        assert flaw_of(newest) is None
    told(
        f"damaged checkpoints: {found['changes']} single bytes changed and {found['truncations']} truncations over {len(files)} files, "
        f"{found.total()} found, {used} recovered from by the checkpoint before"
    )
    assert found.total() == used == CHANGES


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    manifest = tmp_path / "step_000000001" / MANIFEST
    whole = manifest.read_bytes()
    for at in range(len(whole)):
        for changed in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x20]) + whole[at + 1 :], whole[:at] + b" " + whole[at:]):
            manifest.write_bytes(changed)
            assert flaw_of(manifest.parent), f"byte {at}"
    manifest.write_bytes(whole)
    assert flaw_of(manifest.parent) is None


def test_damaged_ones_are_set_aside_under_another_name_and_few_of_them_kept(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    for iteration in range(3, 10):
        store = saved(tmp_path, iteration)
        (store.path_of(iteration) / "state.json").write_text("{}")
        recovery = store.recover()
        assert recovery.checkpoint is not None and recovery.checkpoint.iteration == 2
        assert recovery.set_aside == (
            f"step_{iteration:09d}: state.json has 2 bytes, not {len(json.dumps({'iteration': iteration, 'yardstick': None}, indent=1))}",
        )
    assert [name for name in names(tmp_path) if name.startswith(DAMAGED)] == [
        f"{DAMAGED}step_{i:09d}" for i in range(10 - DAMAGED_KEPT, 10)
    ]
    saved(tmp_path, 10)
    assert [name for name in names(tmp_path) if not name.startswith(DAMAGED)] == ["step_000000002", "step_000000010"]


def test_where_no_checkpoint_is_whole_all_are_set_aside_and_named(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    for iteration in (1, 2):
        (store.path_of(iteration) / "model.safetensors").unlink()
    recovery = store.recover()
    assert recovery.checkpoint is None and len(recovery.set_aside) == 2
    assert names(tmp_path) == [f"{DAMAGED}step_000000001", f"{DAMAGED}step_000000002"]


def test_the_best_by_the_yardstick_is_kept_beside_the_newest_two(tmp_path: Path) -> None:
    store = saved(tmp_path, *range(1, 8), figures={2: 1.5, 3: 1.4, 5: 1.6, 7: 1.4})
    assert names(tmp_path) == [f"step_{i:09d}" for i in (6, 7)]  # the newer of two that are as good
    assert store.best() == open_checkpoint(store.path_of(7))
    store = saved(tmp_path, 8, 9, 10)
    assert names(tmp_path) == [f"step_{i:09d}" for i in (7, 9, 10)]
    best = store.best()
    assert best is not None and best.iteration == 7
    (best.path / "config.yaml").write_text("")
    assert store.best() is None
    store.drop_older()
    assert names(tmp_path) == ["step_000000010"]


def test_a_manifest_without_a_seal_is_damaged_and_a_later_format_refused_by_its_number(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    newest = store.path_of(2)
    files = files_of(newest)
    (newest / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1))
    assert "is altered" in str(flaw_of(newest))
    (newest / MANIFEST).write_text(sealed(files, FORMAT + 1))
    with pytest.raises(
        CheckpointError, match=rf"is of format {FORMAT + 1}, and this masklab reads formats up to {FORMAT}; use the masklab"
    ):
        store.recover()
    assert names(tmp_path) == ["step_000000001", "step_000000002"], "nothing is set aside that is only too new"
    assert str(FORMAT + 1) in str(flaw_of(newest))


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/step_000000002", "checkpoints/step_000000002/model.safetensors"])
def test_links_are_neither_followed_nor_written_through(tmp_path: Path, place: str) -> None:
    saved(tmp_path / "run" / "checkpoints", 1, 2)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "run" / place
    link.rename(tmp_path / "elsewhere" / link.name)
    link.symlink_to(tmp_path / "elsewhere" / link.name)
    store = CheckpointStore(tmp_path / "run" / "checkpoints", DOCUMENTS)
    before = {path: path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()}
    if link.name == "model.safetensors":
        recovery = store.recover()
        assert recovery.checkpoint is not None and recovery.checkpoint.iteration == 1
        assert recovery.set_aside == ("step_000000002: model.safetensors is a link, and files outside the checkpoint are not trusted",)
    else:
        for refused in (
            store.recover,
            lambda: store.save(3, nn.Linear(2, 2), {}, {}),
            lambda: store.adopt(open_checkpoint(store.path_of(1))),
        ):
            with pytest.raises(CheckpointError, match=f"{link.name} is a link"):
                refused()
    assert {path: path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "No space left on device; free space on that disk"),
        (errno.EDQUOT, "Disk quota exceeded; free part of your quota there"),
        (errno.EROFS, "Read-only file system; that disk is read-only: set run.folder= to another place"),
        (errno.EACCES, "Permission denied; allow writing there, or set run.folder= to another place"),
        (errno.EIO, "Input/output error; check that disk, or set run.folder= to another place"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
def test_what_the_disk_refuses_is_one_line_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str, call: str
) -> None:
    store = saved(tmp_path, 1, 2)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, pytest.raises(CheckpointError) as caught:
        patch.setattr(*{"fsync": (os, "fsync"), "mkdir": (Path, "mkdir"), "rename": (Path, "rename")}[call], refuse)
        store.save(3, nn.Linear(2, 2), {}, {})
    assert str(caught.value) == f"cannot write checkpoint {store.path_of(3)}: {words}; the older ones are untouched"
    assert names(tmp_path) == ["step_000000001", "step_000000002"]
    assert flaw_of(store.path_of(2)) is None


def _save_with_little_room(folder: Path, out: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    try:
        CheckpointStore(folder, DOCUMENTS).save(3, nn.Linear(200, 200), {"moments": torch.zeros(20)}, {})
    except CheckpointError as error:
        out.write_text(f"weights: {error}\n")
    try:
        CheckpointStore(folder, DOCUMENTS).save(3, nn.Linear(2, 2), {"moments": torch.zeros(20_000)}, {})
    except CheckpointError as error:
        with out.open("a") as file:
            file.write(f"moments: {error}\n")


def test_a_real_limit_on_files_is_told_by_its_name_and_leaves_nothing_behind(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoints", 1, 2)
    process = multiprocessing.get_context("spawn").Process(target=_save_with_little_room, args=(tmp_path / "checkpoints", tmp_path / "out"))
    process.start()
    process.join()
    weights, moments = (tmp_path / "out").read_text().splitlines()
    assert weights.startswith("weights: cannot write") and moments.startswith("moments: cannot write")
    assert "File too large; raise the limit on the size of a file (ulimit -f)" in weights
    assert "File too large; raise the limit on the size of a file (ulimit -f)" in moments
    assert names(tmp_path / "checkpoints") == ["step_000000001", "step_000000002"]


def test_a_disk_that_is_full_is_told_by_its_name_and_leaves_nothing_behind(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    if os.system(f"mount -t tmpfs -o size=192k none {full} 2>/dev/null"):
        pytest.skip("no leave to mount a disk that is small")
    try:
        store = saved(full / "checkpoints", 1, 2)
        for weights, moments in ((200, 2), (2, 40_000)):
            with pytest.raises(CheckpointError, match="No space left on device; free space on that disk; the older ones are untouched"):
                store.save(3, nn.Linear(weights, weights), {"moments": torch.zeros(moments)}, {})
            assert names(store.folder) == ["step_000000001", "step_000000002"]
        store.save(3, nn.Linear(2, 2), {}, {})
        assert names(store.folder) == ["step_000000002", "step_000000003"]
    finally:
        os.system(f"umount {full}")


@pytest.mark.parametrize("has_room", [True, False])
def test_what_is_saved_is_a_copy_whether_the_device_has_room_for_it_or_not(has_room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklab.training.checkpoint.async_saver._fits", lambda tensors: has_room)
    model = nn.Linear(2, 2)
    model.register_buffer("mean", torch.ones(2))
    model.weight = nn.Parameter(torch.arange(4.0).reshape(2, 2).t())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    moments = torch.ones(2)
    snapshot = Snapshot.of(2, model, {"state": {0: {"step": moments}}, "groups": [{"betas": (0.9, 0.99)}]}, {})
    for tensor in (*model.state_dict().values(), moments):
        tensor.fill_(9.0)
    assert all(torch.equal(snapshot.weights[name], before[name]) and snapshot.weights[name].is_contiguous() for name in before)
    assert snapshot.optimizer["groups"] == [{"betas": (0.9, 0.99)}]
    assert torch.equal(snapshot.optimizer["state"][0]["step"], torch.ones(2))


@pytest.mark.parametrize(("free", "has_room"), [(10**9, True), (10**9 - 1, False)])
def test_whether_a_gpu_has_room_is_looked_up_once(free: int, has_room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (asked.append(free) or free, 10**12))
    _has_room.cache_clear()
    assert [_has_room(torch.device("cuda", 0), 10**9) for _ in range(2)] == [has_room] * 2
    assert asked == [free]
    _has_room.cache_clear()


def test_an_error_beside_training_is_raised_where_the_checkpoint_is_asked_for(tmp_path: Path) -> None:
    store = saved(tmp_path, 1)
    (tmp_path / "file").write_text("")
    saver = AsyncSaver(CheckpointStore(tmp_path / "file" / "checkpoints", {}))
    model = nn.Linear(2, 2)
    saver.begin(Snapshot.of(2, model, {}, {}))
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        saver.collect(wait=True)
    assert saver.collect(wait=True) is None, "it is raised once"
    saver = AsyncSaver(store)
    snapshot = Snapshot.of(2, model, {"moments": [model.weight]}, {})
    with torch.no_grad():
        model.weight.fill_(9.0)
    saver.begin(snapshot)
    event = saver.collect(wait=True)
    assert event is not None and event.iteration == 2
    assert not (open_checkpoint(event.path).tensors()["weight"] == 9).any(), "what training changes later is not in it"
    assert not (open_checkpoint(event.path).optimizer()["moments"][0] == 9).any()
