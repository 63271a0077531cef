"""The checkpoints of a run: directories that exist completely or not at all.

A checkpoint holds `model.safetensors`, `optimizer.pt`, `state.json`, the documents (`config.yaml`, `vocabulary.json`, ...) and, written
last, `manifest.json`. It is written under a temporary name, flushed to disk and renamed. Resuming takes the newest that verifies.

    Snapshot, AsyncSaver            async_saver.py   copy the state between two steps; write it in a thread
    CheckpointStore.write           here             write, commit by renaming, drop the oldest
        write_files                 files.py         write and flush each file; explain disk errors
        manifest_text, flaw_of      manifest.py      sizes and hashes; verify a checkpoint
    recovered, .recover             here             find where to resume; set damaged checkpoints aside
    .newest, .at, .best             here             find a checkpoint without changing anything
    .adopt, .drop_older            here             copy another run's checkpoint; drop all but the newest
    Checkpoint, load_weights        checkpoint.py    read a checkpoint

    step_000000120                  a checkpoint
    damaged_step_000000120          did not verify when the run was resumed; nothing reads it
    .partial_step_000000120         being written
    .replaced_step_000000120        making room for another of the same iteration
    .dropped_step_000000120         being deleted
"""

from __future__ import annotations

import logging
import math
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from masklab.errors import CheckpointError
from masklab.failpoints import failpoint
from masklab.training.checkpoint.async_saver import Snapshot
from masklab.training.checkpoint.checkpoint import Checkpoint, open_checkpoint
from masklab.training.checkpoint.files import REFUSALS, disk_refusal, flush, remove, write_files
from masklab.training.checkpoint.manifest import DAMAGED, flaw_of, refuse_later_format
from masklab.training.ranks import Ranks

log = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d{9})")
PARTIAL, REPLACED, DROPPED = ".partial_", ".replaced_", ".dropped_"
DAMAGED_KEPT = 4
"""Damaged checkpoints that are kept for the user to inspect."""


@dataclass(frozen=True)
class Recovery:
    """The newest checkpoint that verifies, and the flaw of each newer one that was set aside."""

    checkpoint: Checkpoint | None
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run in `folder`: the newest `keep`, the best by the yardstick, and the one to roll back to."""

    folder: Path
    documents: Mapping[str, str]
    """Texts stored in every checkpoint, by file name: the resolved config and the vocabulary."""
    keep: int = 2
    beside: bool = True
    """Whether training continues while a checkpoint is written."""

    def path_of(self, iteration: int) -> Path:
        return self.folder / f"step_{iteration:09d}"

    def save(self, iteration: int, model: nn.Module, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `iteration`, and return once it is committed."""
        return self.write(Snapshot.of(iteration, model, optimizer, state))

    def write(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint and drop the oldest beyond those kept. Raises CheckpointError if the disk refuses."""
        final = self.path_of(snapshot.iteration)
        partial = _beside(final, PARTIAL)
        try:
            self._refuse_links()
            self.folder.mkdir(parents=True, exist_ok=True)
            remove(partial)
            partial.mkdir()
            failpoint("checkpoint.folder")
            write_files(partial, snapshot.on_host(), self.documents)
            self._commit(partial, final)
        except REFUSALS as error:
            remove(partial)
            raise CheckpointError(f"cannot write checkpoint {final}: {disk_refusal(error)}; the older ones are untouched") from error
        self._prune(final)
        return final

    def _commit(self, partial: Path, final: Path) -> None:
        """Rename the complete checkpoint `partial` to `final`: at each moment one of the two can be recovered."""
        replaced = _beside(final, REPLACED)
        if final.exists():
            remove(replaced)
            final.rename(replaced)
            failpoint("checkpoint.replaced")
        partial.rename(final)
        failpoint("checkpoint.renamed")
        flush(self.folder)
        failpoint("checkpoint.committed")
        remove(replaced)

    def adopt(self, donor: Checkpoint) -> Checkpoint:
        """Copy another run's checkpoint, byte by byte, and drop all others. Raises CheckpointError if it does not verify."""
        final = self.folder / donor.path.name
        partial = _beside(final, PARTIAL)
        try:
            self._refuse_links()
            if flaw := flaw_of(donor.path):
                raise CheckpointError(f"checkpoint {donor.path} cannot be copied: {flaw}")
            remove(partial)
            shutil.copytree(donor.path, partial, symlinks=True)
            for file in (*partial.iterdir(), partial):
                flush(file)
            if flaw := flaw_of(partial):
                raise CheckpointError(f"checkpoint {donor.path} cannot be copied: {flaw}")
            self._commit(partial, final)
        except OSError as error:
            raise CheckpointError(f"checkpoint {donor.path} cannot be copied to {final}: {disk_refusal(error)}") from error
        finally:
            remove(partial)
        self._keep_only({final})
        return Checkpoint(final)

    def drop_older(self) -> None:
        """Drop all checkpoints but the newest that verifies."""
        newest = self.newest()
        if newest:
            self._keep_only({newest.path})

    def recover(self) -> Recovery:
        """Find where to resume, for the one process that will write here. Completes or removes what a killed process left, and sets
        damaged checkpoints aside. Raises CheckpointError for links, and for a checkpoint of a later masklab.
        """
        failpoint("restore.begun")
        self._refuse_links()
        flaws: list[str] = []
        for path in self._named(REPLACED):
            if not (final := path.with_name(path.name.removeprefix(REPLACED))).exists():
                path.rename(final)
                failpoint("restore.put_back")
        for path in reversed(self._by_age()):
            refuse_later_format(path)
            flaw = flaw_of(path)
            if flaw is None:
                self._prune(path)
                return Recovery(Checkpoint(path), tuple(flaws))
            log.warning("setting checkpoint %s aside: %s", path, flaw)
            flaws.append(f"{path.name}: {flaw}")
            self._set_aside(path)
        return Recovery(None, tuple(flaws))

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies, if any; those skipped are logged."""
        for path in reversed(self._by_age()):
            flaw = flaw_of(path)
            if flaw is None:
                return Checkpoint(path)
            log.warning("passing over checkpoint %s: %s", path, flaw)
        return None

    def at(self, iteration: int) -> Checkpoint | None:
        """The checkpoint of `iteration`, if there is one that verifies."""
        path = self.path_of(iteration)
        return Checkpoint(path) if flaw_of(path) is None else None

    def best(self) -> Checkpoint | None:
        """The checkpoint that verifies with the lowest yardstick; None if none was evaluated."""
        ranked = sorted((each for each in self._by_age() if _yardstick(each) < math.inf), key=_rank)
        return next((Checkpoint(path) for path in ranked if flaw_of(path) is None), None)

    def _prune(self, newest: Path) -> None:
        """Keep the newest `keep` up to `newest`, the best of these and the one to roll back to. Later ones belong to an abandoned path."""
        known = [path for path in self._by_age() if path.name <= newest.name]
        good_at = Checkpoint(newest).state.get("stability", {}).get("good_at")
        good = [] if good_at is None else [self.path_of(good_at)]
        self._keep_only({*known[-self.keep :], min(known, key=_rank), *good})

    def _keep_only(self, kept: Collection[Path]) -> None:
        for path in self._by_age():
            if path not in kept:
                dropped = _beside(path, DROPPED)
                remove(dropped)
                path.rename(dropped)
                failpoint("checkpoint.dropped")
        for path in self._named(PARTIAL, REPLACED, DROPPED):
            remove(path)
        failpoint("checkpoint.pruned")

    def _set_aside(self, path: Path) -> None:
        """Rename a damaged checkpoint so that nothing reads it, and remove the oldest such beyond DAMAGED_KEPT."""
        others = [each for each in self._named(DAMAGED) if each.name != DAMAGED + path.name]
        aside = _beside(path, DAMAGED)
        try:
            remove(aside)
            path.rename(aside)
        except OSError as error:
            raise CheckpointError(f"checkpoint {path} is damaged and cannot be set aside: {disk_refusal(error)}") from error
        for old in others[: -(DAMAGED_KEPT - 1)]:
            remove(old)
        failpoint("restore.set_aside")

    def _refuse_links(self) -> None:
        """Raise CheckpointError if the folder or an entry of it is a link: a run keeps all its files in its own folder."""
        link = next((p for p in (self.folder, *(self.folder.iterdir() if self.folder.is_dir() else ())) if p.is_symlink()), None)
        if link:
            raise CheckpointError(f"{link} is a link, but checkpoints must be in the run's own folder; replace it with a plain folder")

    def _by_age(self) -> list[Path]:
        return sorted(p for p in self._named("step_") if NAME.fullmatch(p.name))

    def _named(self, *beginnings: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if p.name.startswith(beginnings))


def _beside(path: Path, beginning: str) -> Path:
    return path.with_name(beginning + path.name)


def _yardstick(path: Path) -> float:
    """The yardstick of the weights of the checkpoint at `path`, in nats; infinite if they were not evaluated."""
    try:
        value = Checkpoint(path).state.get("yardstick")
    except (OSError, ValueError, TypeError, RecursionError):
        return math.inf
    return value if isinstance(value, float) and math.isfinite(value) else math.inf


def _rank(path: Path) -> tuple[float, int]:
    """Sorts checkpoints: the best first, and of equal ones the newest."""
    return _yardstick(path), -int(path.name.removeprefix("step_"))


def recovered(store: CheckpointStore, ranks: Ranks) -> Recovery:
    """The checkpoint to resume from, the same on every rank: rank 0 recovers, the others open what it found. Raises CheckpointError."""
    found = store.recover() if ranks.rank == 0 else Recovery(None)
    own = -1 if found.checkpoint is None else found.checkpoint.iteration
    agreed = int(ranks.agree(float(own)))
    if ranks.rank == 0 or agreed < 0:
        return found
    return Recovery(open_checkpoint(store.path_of(agreed)))


def iteration_reached(checkpoints: Path) -> int:
    """The iteration of the newest checkpoint in the folder `checkpoints`; 0 if there is none."""
    newest = CheckpointStore(checkpoints, {}).newest()
    return newest.iteration if newest else 0
