"""Checkpoints: directories that are there whole or not at all.

A checkpoint holds `model.safetensors`, `optimizer.pt` (tensors, read with `weights_only=True`), `state.json`, `config.yaml`,
`vocabulary.json` and, written last, `manifest.json` with every file's size and SHA-256. It is written under a temporary name, flushed
to disk and renamed. Reading takes the newest that verifies; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from masklab.errors import CheckpointError

log = logging.getLogger(__name__)

FORMAT = 1
MANIFEST = "manifest.json"
NAME = re.compile(r"step_(\d{9})")
NEEDED = ("model.safetensors", "optimizer.pt", "state.json")
Verdict = str | None


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint directory."""

    path: Path

    @property
    def files(self) -> frozenset[str]:
        """The names of the files that the manifest vouches for."""
        return frozenset(json.loads((self.path / MANIFEST).read_text())["files"])

    @property
    def weights_sha256(self) -> str:
        """The hash of `model.safetensors`, as the manifest has it."""
        return str(json.loads((self.path / MANIFEST).read_text())["files"]["model.safetensors"]["sha256"])

    @property
    def state(self) -> dict[str, Any]:
        """What `state.json` holds."""
        return dict(json.loads((self.path / "state.json").read_text()))

    def tensors(self) -> dict[str, Tensor]:
        """The model's weights by name, on the CPU."""
        try:
            tensors: dict[str, Tensor] = load_file(self.path / "model.safetensors")
        except SafetensorError as error:
            raise CheckpointError(f"checkpoint {self.path}: model.safetensors cannot be read ({error})") from error
        return tensors

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state, on the CPU."""
        return dict(torch.load(self.path / "optimizer.pt", map_location="cpu", weights_only=True))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flaw_of(path: Path) -> Verdict:
    """What is wrong with the checkpoint at `path`, in a few words; None when it is whole."""
    try:
        return _flaw_of(path)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def _flaw_of(path: Path) -> Verdict:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"no readable {MANIFEST} ({type(error).__name__})"
    if version != FORMAT:
        return f"format {version}, but this masklab reads format {FORMAT}"
    if strange := next((name for name in files if Path(name).name != name), None):
        return f"{MANIFEST} names {strange!r}, which is no file of its folder"
    for name in (*NEEDED, *files):
        if name not in files or not (path / name).is_file():
            return f"{name} is missing"
    for name, (size, sha256) in files.items():
        file = path / name
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, not {size}"
        if sha256_of(file) != sha256:
            return f"{name} is altered (SHA-256 differs)"
    return None


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises CheckpointError when it is not whole."""
    flaw = flaw_of(path)
    if flaw:
        raise CheckpointError(f"checkpoint {path}: {flaw}; use another checkpoint of the run")
    return Checkpoint(path)


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put the checkpoint's weights into `model`. Raises CheckpointError, naming tensors, for another architecture."""
    tensors, own = checkpoint.tensors(), model.state_dict()
    wrong = [f"{name} is {list(tensors[name].shape)}, the model's {list(own[name].shape)}" for name in own.keys() & tensors.keys()
             if own[name].shape != tensors[name].shape]  # fmt: skip
    wrong += [f"{name} is missing" for name in own.keys() - tensors.keys()] + [f"{name} is unknown" for name in tensors.keys() - own.keys()]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"checkpoint {checkpoint.path} is of another architecture: {'; '.join(sorted(wrong)[:3])}{more}; "
            "give the model sizes it was made with"
        )
    model.load_state_dict(tensors)


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run in `folder`; the newest `keep` stay."""

    folder: Path
    documents: Mapping[str, str]
    """Texts stored in every checkpoint, by file name: the resolved config and the vocabulary."""
    keep: int = 2

    def save(self, iteration: int, model: nn.Module, optimizer: dict[str, Any], state: dict[str, Any]) -> Path:
        """Write the checkpoint of `iteration` and drop the oldest beyond `keep`. Raises CheckpointError when the disk refuses."""
        final = self.folder / f"step_{iteration:09d}"
        partial = self.folder / f".partial_{final.name}"
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        writers: dict[str, Callable[[Path], object]] = {
            "model.safetensors": lambda path: _save_weights(weights, path),
            "optimizer.pt": lambda path: torch.save(optimizer, path),
            "state.json": lambda path: path.write_text(json.dumps(state, indent=1, allow_nan=False)),
        }
        for name, text in self.documents.items():
            writers[name] = lambda path, text=text: path.write_text(text, encoding="utf-8")  # type: ignore[misc]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _write_all(partial, writers)
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            _flush(self.folder)
        except (OSError, SafetensorError, RuntimeError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(f"cannot write checkpoint {final}: {error}; the older ones are untouched") from error
        self._prune(final)
        return final

    def adopt(self, donor: Checkpoint) -> Checkpoint:
        """Take over another run's checkpoint, byte by byte, in place of all of one's own. Raises CheckpointError if it is not whole."""
        final = self.folder / donor.path.name
        partial = self.folder / f".partial_{final.name}"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(donor.path, partial)
            for file in (*partial.iterdir(), partial):
                _flush(file)
            if flaw := flaw_of(partial):
                raise CheckpointError(f"checkpoint {donor.path} cannot be taken over: {flaw}")
            if final.exists():
                shutil.rmtree(final)
            partial.rename(final)
            _flush(self.folder)
        except OSError as error:
            raise CheckpointError(f"checkpoint {donor.path} cannot be copied to {final}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        replace(self, keep=1)._prune(final)
        return Checkpoint(final)

    def _prune(self, newest: Path) -> None:
        """Keep the newest `keep` up to the one just saved: a run that went on from an older one has disowned those beyond it."""
        known = self._by_age()
        beyond = [path for path in known if path.name > newest.name]
        kept = [path for path in known if path.name <= newest.name][-self.keep :]
        partial = [path for path in self.folder.iterdir() if path.name.startswith(".partial_")]
        for path in (*beyond, *partial, *(p for p in known if p not in kept and p not in beyond)):
            shutil.rmtree(path, ignore_errors=True)

    def drop_older(self) -> None:
        """Keep the newest checkpoint that verifies, and no other."""
        newest = self.newest()
        if newest:
            replace(self, keep=1)._prune(newest.path)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; those passed over are named in the log. None when there is none."""
        for path in reversed(self._by_age()):
            flaw = flaw_of(path)
            if flaw is None:
                return Checkpoint(path)
            log.warning("passing over checkpoint %s: %s", path, flaw)
        return None

    def _by_age(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if NAME.fullmatch(p.name))


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Save with the permissions of any new file: `save_file` alone lets only the owner read what it writes."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(weights, path)
    path.chmod(mode)


def _write_all(folder: Path, writers: Mapping[str, Callable[[Path], object]]) -> None:
    """Write each file, flush it, and write the manifest last."""
    files = {}
    for name, write in writers.items():
        write(folder / name)
        _flush(folder / name)
        files[name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=1))
    _flush(folder / MANIFEST)
    _flush(folder)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
