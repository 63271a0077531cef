"""Finds the checkpoint that `checkpoint=` names: by a run's name, a run's folder, or a checkpoint's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from masklab.config.compose.yaml_io import load
from masklab.config.jobs.train import Config
from masklab.errors import CheckpointError, ConfigError, DataError, RunError, did_you_mean, one_line, shown
from masklab.io.paths import absolute_path, is_name
from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.manifest import MANIFEST, flaw_of
from masklab.training.checkpoint.store import NAME, CheckpointStore
from masklab.training.run_folder import RunFolder

T = TypeVar("T")
NAMES_SHOWN = 8
BEST = "best"
"""Suffix of a run's name or folder that asks for its best checkpoint instead of its newest."""
LONGEST_PATH = 4096
WEIGHTS = "model.safetensors"
COLLECTIONS = {"comparison.json": ("a comparison", "arms/*/seed-*"), "sweep.json": ("a sweep", "trials/*")}
"""Folders of many runs: the file that identifies each, its name in messages, and where its runs are."""


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint whose files are intact, and its run, if it is in a run's folder.

    `passed_over` gives for each newer checkpoint of the run the reason why it was not used.
    """

    checkpoint: Checkpoint
    run: RunFolder | None
    passed_over: tuple[str, ...] = ()

    def config(self) -> Config:
        """The configuration that it was trained with. Raises CheckpointError when this masklab cannot read it."""
        self._vouched_for("config.yaml")
        try:
            return load(self.checkpoint.path / "config.yaml")
        except (ConfigError, RecursionError) as error:
            place = f"{self.checkpoint.path / 'config.yaml'}: "
            raise CheckpointError(f"checkpoint {self.checkpoint.path}: config.yaml: {str(error).removeprefix(place)}") from error

    def vocabulary(self) -> Vocabulary:
        """The characters that it was trained on. Raises CheckpointError when they cannot be read."""
        return self._parsed("vocabulary.json", Vocabulary.from_json)

    def labels(self) -> Labels:
        """The labels that it predicts. Raises CheckpointError when they cannot be read."""
        return self._parsed("labels.json", Labels.from_json)

    def _parsed(self, name: str, parse: Callable[[Any], T]) -> T:
        self._vouched_for(name)
        try:
            return parse(json.loads((self.checkpoint.path / name).read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, DataError) as error:
            raise CheckpointError(f"checkpoint {self.checkpoint.path}: {name}: {one_line(error)}") from error

    def _vouched_for(self, name: str) -> None:
        """Raise CheckpointError for a file that is not in the manifest, and so was not saved with the checkpoint."""
        if name not in self.checkpoint.files:
            raise CheckpointError(f"checkpoint {self.checkpoint.path}: {name} is not in its {MANIFEST}; use another checkpoint of the run")


def find_checkpoint(reference: str, home: Path) -> FoundCheckpoint:
    """The checkpoint that `reference` names: itself, or of a run (by name in `home`, or by folder) the newest intact one, or with `/best`
    the one with the lowest validation NELBO.

    Raises RunError if there is no such run or no checkpoint yet, and CheckpointError if none is intact.
    """
    runs = home / "runs"
    if len(reference) > LONGEST_PATH or "\0" in reference:
        raise RunError(f"checkpoint = {shown(reference, 40)}: is not a path; give a run's name, its folder, or one of its checkpoints")
    try:
        return _found(reference, runs)
    except OSError as error:
        raise RunError(f"checkpoint = {reference!r}: cannot be read ({error.strerror})") from error


def _found(reference: str, runs: Path) -> FoundCheckpoint:
    by_name = is_name(reference) and (runs / reference).is_dir()
    path = runs / reference if by_name else absolute_path(reference, "checkpoint")
    if path.is_file():
        raise CheckpointError(f"{path} is a file; a checkpoint of masklab is a folder with a {MANIFEST}; other files are never read")
    if not path.is_dir() and reference.endswith(f"/{BEST}"):
        return _best(reference, runs)
    if not path.is_dir():
        raise _nothing_there(reference, runs)
    if (path / MANIFEST).exists():
        of_run = _run_of(path)
        if of_run:
            of_run.refuse_links()
        return FoundCheckpoint(open_checkpoint(path), of_run)
    if NAME.fullmatch(path.name) or (path / WEIGHTS).is_file():
        raise CheckpointError(
            f"checkpoint {path}: {MANIFEST} is missing, so its files cannot be verified; copy the whole folder again, or use "
            "another checkpoint of the run"
        )
    for record, (kind, pattern) in COLLECTIONS.items():
        if (path / record).is_file():
            raise _no_single_run(path, kind, pattern)
    run = RunFolder(path)
    if by_name or run.checkpoints.is_dir() or (path / "config.yaml").is_file():
        return _newest(run)
    raise RunError(f"{path} is neither a run's folder nor a checkpoint: it has no config.yaml, no checkpoints/ and no {MANIFEST}")


def _no_single_run(path: Path, kind: str, pattern: str) -> RunError:
    own = sorted(str(p) for p in path.glob(pattern) if RunFolder(p).checkpoints.is_dir())
    advice = f"name one of its runs by its folder: {_listed(own)}" if own else "none of its runs has a checkpoint yet"
    return RunError(f"{path} is {kind}, which has no checkpoint of its own; {advice}")


def _newest(run: RunFolder) -> FoundCheckpoint:
    run.refuse_links()
    there = sorted(p for p in run.checkpoints.iterdir() if NAME.fullmatch(p.name)) if run.checkpoints.is_dir() else []
    if not there:
        raise RunError(f"run '{run.path.name}' is untrained: no checkpoint yet in {run.checkpoints}; train it, or wait for its first")
    passed_over: list[str] = []
    for path in reversed(there):
        flaw = flaw_of(path)
        if flaw is None:
            return FoundCheckpoint(Checkpoint(path), run, tuple(passed_over))
        passed_over.append(f"{path.name}: {flaw}")
    raise CheckpointError(f"run '{run.path.name}' has no intact checkpoint ({'; '.join(passed_over)}); use another run")


def _best(reference: str, runs: Path) -> FoundCheckpoint:
    """The checkpoint with the lowest validation NELBO, of the run before `/best` in `reference`."""
    found = _found(reference.removesuffix(BEST).rstrip("/"), runs)
    best = CheckpointStore(found.run.checkpoints, {}).best() if found.run else None
    if best is None:
        raise RunError(f"checkpoint = {reference!r}: that run has no checkpoint of a step at which it was evaluated; leave out '/{BEST}'")
    return FoundCheckpoint(best, found.run)


def _run_of(path: Path) -> RunFolder | None:
    run = RunFolder(path.parent.parent)
    return run if run.checkpoints == path.parent and (run.path / "config.yaml").is_file() else None


def _nothing_there(reference: str, runs: Path) -> RunError:
    if not is_name(reference):
        return RunError(f"checkpoint = {reference!r}: no such folder; give a run's name, its folder, or one of its checkpoints")
    names = sorted(p.name for p in runs.iterdir() if RunFolder(p).checkpoints.is_dir()) if runs.is_dir() else []
    there = f"there are {_listed(names)}" if names else "there are none with a checkpoint"
    return RunError(f"checkpoint = {reference!r}: no such run in {runs}; {there}{did_you_mean(reference, names)}")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:NAMES_SHOWN])}{' ...' if len(names) > NAMES_SHOWN else ''}"
