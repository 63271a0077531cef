"""The manifest of a checkpoint: the size and hash of each file, and a seal on the manifest itself, so that every changed byte is found.

    {"format": 2, "files": {NAME: {"bytes": SIZE, "sha256": HASH}, ...}, "sha256": SEAL}

The seal is the SHA-256 of the same JSON without the seal. The text must equal `sealed` of its own content to the last byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from masklab.errors import CheckpointError

MANIFEST = "manifest.json"
DAMAGED = "damaged_"
"""Prefix of the name of a checkpoint that did not verify."""
FORMAT = 2
NEEDED = ("model.safetensors", "optimizer.pt", "state.json")
LARGEST = 1 << 20
"""Most bytes of a manifest."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(files: Mapping[str, Mapping[str, Any]], number: int = FORMAT) -> str:
    """The text of the manifest of `files`, in format `number`."""
    content: dict[str, Any] = {"format": number, "files": files}
    seal = hashlib.sha256(json.dumps(content, indent=1).encode()).hexdigest()
    return json.dumps(content | {"sha256": seal}, indent=1)


def manifest_text(folder: Path, names: Iterable[str]) -> str:
    """The manifest of the files `names` of `folder` as they are now."""
    return sealed({name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names})


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of each file in the manifest of a verified checkpoint."""
    return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])


def refuse_later_format(folder: Path) -> None:
    """Raise CheckpointError if the manifest is sealed, but in a format that only a later masklab reads."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        number = int(manifest["format"])
        if number <= FORMAT or text != sealed(manifest["files"], number):
            return
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    raise CheckpointError(
        f"checkpoint {folder} is of format {number}, and this masklab reads formats up to {FORMAT}; use the masklab that wrote it, or "
        "another run.name"
    )


def flaw_of(path: Path) -> str | None:
    """The first flaw of the checkpoint at `path`, in a few words; None if it verifies."""
    try:
        return _flaw_of(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _flaw_of(path: Path) -> str | None:
    if link := next((each for each in (path, path / MANIFEST) if each.is_symlink()), None):
        return f"{link.name} is a link, and files outside the checkpoint are not trusted"
    if (path / MANIFEST).exists() and not (path / MANIFEST).is_file():
        return f"{MANIFEST} is not a plain file"
    try:
        if (path / MANIFEST).stat().st_size > LARGEST:
            return f"{MANIFEST} has more than {LARGEST} bytes"
        text = (path / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
        files = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
        number = manifest["format"]
        if text != sealed(manifest["files"], number):
            return f"{MANIFEST} is altered (SHA-256 differs)"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"no readable {MANIFEST} ({type(error).__name__})"
    if number != FORMAT:
        return f"format {number}, but this masklab reads format {FORMAT}"
    return next((flaw for name in (*NEEDED, *files) if (flaw := _flaw_of_file(path, name, files))), None)


def _flaw_of_file(folder: Path, name: str, files: Mapping[str, tuple[Any, Any]]) -> str | None:
    if Path(name).name != name:
        return f"{MANIFEST} names {name!r}, which is not in its folder"
    file = folder / name
    if file.is_symlink():
        return f"{name} is a link, and files outside the checkpoint are not trusted"
    if name not in files or not file.is_file():
        return f"{name} is missing"
    size, sha256 = files[name]
    if file.stat().st_size != size:
        return f"{name} has {file.stat().st_size} bytes, not {size}"
    if sha256_of(file) != sha256:
        return f"{name} is altered (SHA-256 differs)"
    return None
