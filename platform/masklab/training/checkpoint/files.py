"""Writes the files of a checkpoint so that they are on the disk before anything says so, and tells in words what a disk refuses."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from masklab.failpoints import failpoint
from masklab.training.checkpoint.manifest import MANIFEST, manifest_text
from masklab.training.checkpoint.snapshot import Snapshot

REFUSALS = (OSError, SafetensorError, RuntimeError)
"""What the libraries that write files raise when the disk refuses."""
ADVICE = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free part of your quota there",
    errno.EROFS: "that disk can only be read: set run.folder= to another",
    errno.EACCES: "get leave to write there, or set run.folder= to another place",
    errno.EPERM: "get leave to write there, or set run.folder= to another place",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
}


def write_files(folder: Path, snapshot: Snapshot, documents: Mapping[str, str]) -> None:
    """Write and flush each file, and the manifest last. Raises one of REFUSALS."""
    writers: dict[str, Callable[[Path], object]] = {
        "model.safetensors": lambda path: _save_weights(dict(snapshot.weights), path),
        "optimizer.pt": lambda path: _save_tensors(snapshot.optimizer, path),
        "state.json": lambda path: path.write_text(json.dumps(snapshot.state, indent=1, allow_nan=False), encoding="utf-8"),
    }
    for name, text in documents.items():
        writers[name] = lambda path, text=text: path.write_text(text, encoding="utf-8")  # type: ignore[misc]
    for name, write in writers.items():
        write(folder / name)
        flush(folder / name)
        failpoint("checkpoint.file")
    (folder / MANIFEST).write_text(manifest_text(folder, writers), encoding="utf-8")
    flush(folder / MANIFEST)
    failpoint("checkpoint.manifest")
    flush(folder)
    failpoint("checkpoint.flushed")


def _save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Save with the permissions of any new file: `save_file` alone lets only the owner read what it writes."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(weights, path)
    path.chmod(mode)


def _save_tensors(tree: object, path: Path) -> None:
    """Save through a file of Python's, whose errors say what the disk refused."""
    with path.open("wb", buffering=0) as file:
        torch.save(tree, file)


def flush(path: Path) -> None:
    """Return once the file or folder at `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Take away a folder with all that is in it, or a link and nothing of what it points to; whatever resists stays."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def disk_refusal(error: BaseException) -> str:
    """What the disk refused and what to do, in a few words."""
    number = _number_of(error)
    if number is None:
        return " ".join(str(error).split())
    return f"{os.strerror(number)}; {ADVICE.get(number, 'see to that disk, or set run.folder= to another')}"


def _number_of(error: BaseException | None) -> int | None:
    """The system's number of the error beneath `error`."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None
