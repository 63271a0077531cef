"""Writes and flushes the files of a checkpoint, and explains disk errors."""

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

from masklab.errors import one_line
from masklab.failpoints import failpoint
from masklab.training.checkpoint.async_saver import Snapshot
from masklab.training.checkpoint.manifest import MANIFEST, manifest_text

REFUSALS = (OSError, SafetensorError, RuntimeError)
"""Errors that the libraries raise when a file cannot be written."""
ADVICE = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free part of your quota there",
    errno.EROFS: "that disk is read-only: set run.folder= to another place",
    errno.EACCES: "allow writing there, or set run.folder= to another place",
    errno.EPERM: "allow writing there, or set run.folder= to another place",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
}


def write_files(folder: Path, snapshot: Snapshot, documents: Mapping[str, str]) -> None:
    """Write and flush each file, the manifest last. Raises one of REFUSALS."""
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
    """Save with the permissions of any new file: `save_file` alone makes it readable by its owner only."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    save_file(weights, path)
    path.chmod(mode)


def _save_tensors(tree: object, path: Path) -> None:
    """Save through a Python file object, whose errors name the reason."""
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
    """Delete a folder, or a link but not its target. What cannot be deleted stays."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def disk_refusal(error: BaseException) -> str:
    """The system's reason and a remedy, in a few words."""
    number = _number_of(error)
    if number is None:
        return one_line(error)
    return f"{os.strerror(number)}; {ADVICE.get(number, 'check that disk, or set run.folder= to another place')}"


def _number_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if found := re.search(r"\(os error (\d+)\)", str(error)):
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None
