"""Checkpoints: directories that are there whole or not at all.

A checkpoint holds `model.safetensors`, `optimizer.pt` (tensors, read with `weights_only=True`), `state.json`, `config.yaml`,
`vocabulary.json` and, written last, `manifest.json` (see manifest.py). It is written under a temporary name, flushed to disk and renamed.
IntervalMetrics takes the newest that verifies; nothing is ever unpickled.

    step_000000120              a checkpoint
    damaged_step_000000120      one that did not verify when the run went on; nothing reads it
    .partial_step_000000120     being written
    .replaced_step_000000120    making room for another of the same iteration
    .dropped_step_000000120     being deleted
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from masklab.errors import CheckpointError
from masklab.failpoints import failpoint
from masklab.model.config import ModelConfig
from masklab.model.tensor_file import load_tensors
from masklab.training.checkpoint.files import REFUSALS, disk_refusal, flush, remove, write_files
from masklab.training.checkpoint.manifest import DAMAGED, files_of, flaw_of, refuse_later_format
from masklab.training.checkpoint.optimizer_file import load_optimizer
from masklab.training.checkpoint.snapshot import Snapshot

log = logging.getLogger(__name__)

NAME = re.compile(r"step_(\d{9})")
PARTIAL, REPLACED, DROPPED = ".partial_", ".replaced_", ".dropped_"
DAMAGED_KEPT = 4
"""Checkpoints that did not verify, which are kept for the user to look at."""


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint directory."""

    path: Path

    @property
    def iteration(self) -> int:
        """The number of steps taken, as the folder's name has it."""
        return int(self.path.name.removeprefix("step_"))

    @property
    def files(self) -> frozenset[str]:
        """The names of the files that the manifest vouches for."""
        return frozenset(files_of(self.path))

    @property
    def weights_sha256(self) -> str:
        """The hash of `model.safetensors`, as the manifest has it."""
        return str(files_of(self.path)["model.safetensors"]["sha256"])

    @property
    def state(self) -> dict[str, Any]:
        """What `state.json` holds."""
        return dict(json.loads((self.path / "state.json").read_text(encoding="utf-8")))

    def tensors(self, sizes: ModelConfig | None = None) -> dict[str, Tensor]:
        """The model's weights by name, on the CPU. Raises CheckpointError as `load_tensors` does."""
        try:
            return load_tensors(self.path / "model.safetensors", sizes)
        except CheckpointError as error:
            raise CheckpointError(f"checkpoint {self.path}: {error}") from error

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state, on the CPU."""
        return load_optimizer(self.path / "optimizer.pt")


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
class Recovery:
    """Where a run goes on: the newest checkpoint that verifies, and what was wrong with each that was set aside."""

    checkpoint: Checkpoint | None
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointStore:
    """The checkpoints of one run in `folder`; the newest `keep` stay, and beside them the best by the yardstick."""

    folder: Path
    documents: Mapping[str, str]
    """Texts stored in every checkpoint, by file name: the resolved config and the vocabulary."""
    keep: int = 2
    beside: bool = True
    """Whether training goes on while a checkpoint is written."""

    def path_of(self, iteration: int) -> Path:
        """Where the checkpoint of `iteration` lies."""
        return self.folder / f"step_{iteration:09d}"

    def save(self, iteration: int, model: nn.Module, optimizer: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `iteration`, and return when it is committed."""
        return self.write(Snapshot.of(iteration, model, optimizer, state))

    def write(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint and drop the oldest beyond those kept. Raises CheckpointError when the disk refuses."""
        final = self.path_of(snapshot.iteration)
        partial = self._beside(final, PARTIAL)
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
        self._prune(final, self.keep, with_best=True)
        return final

    def _commit(self, partial: Path, final: Path) -> None:
        """Let the whole checkpoint `partial` take the place of `final`: at each moment one of the two can be found again."""
        replaced = self._beside(final, REPLACED)
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
        """Take over another run's checkpoint, byte by byte, in place of all of one's own. Raises CheckpointError if it is not whole."""
        final = self.folder / donor.path.name
        partial = self._beside(final, PARTIAL)
        try:
            self._refuse_links()
            if flaw := flaw_of(donor.path):
                raise CheckpointError(f"checkpoint {donor.path} cannot be taken over: {flaw}")
            remove(partial)
            shutil.copytree(donor.path, partial, symlinks=True)
            for file in (*partial.iterdir(), partial):
                flush(file)
            if flaw := flaw_of(partial):
                raise CheckpointError(f"checkpoint {donor.path} cannot be taken over: {flaw}")
            self._commit(partial, final)
        except OSError as error:
            raise CheckpointError(f"checkpoint {donor.path} cannot be copied to {final}: {disk_refusal(error)}") from error
        finally:
            remove(partial)
        self._prune(final, 1, with_best=False)
        return Checkpoint(final)

    def drop_older(self) -> None:
        """Keep the newest checkpoint that verifies, and no other."""
        newest = self.newest()
        if newest:
            self._prune(newest.path, 1, with_best=False)

    def recover(self) -> Recovery:
        """Find where to go on, for the one process that will write here: what a kill left behind is tidied up, what does not verify is
        set aside. Raises CheckpointError for links, and for a checkpoint of a later masklab.
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
                self._prune(path, self.keep, with_best=True)
                return Recovery(Checkpoint(path), tuple(flaws))
            log.warning("setting checkpoint %s aside: %s", path, flaw)
            flaws.append(f"{path.name}: {flaw}")
            self._set_aside(path)
        return Recovery(None, tuple(flaws))

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; those passed over are named in the log. None when there is none."""
        for path in reversed(self._by_age()):
            flaw = flaw_of(path)
            if flaw is None:
                return Checkpoint(path)
            log.warning("passing over checkpoint %s: %s", path, flaw)
        return None

    def at(self, iteration: int) -> Checkpoint | None:
        """The checkpoint of `iteration`; None when there is none that verifies."""
        path = self.path_of(iteration)
        return Checkpoint(path) if flaw_of(path) is None else None

    def best(self) -> Checkpoint | None:
        """The checkpoint that verifies with the lowest figure of the yardstick; None when none has one."""
        ranked = sorted((each for each in self._by_age() if _yardstick(each) < math.inf), key=_rank)
        return next((Checkpoint(path) for path in ranked if flaw_of(path) is None), None)

    def _prune(self, newest: Path, keep: int, with_best: bool) -> None:
        """Keep the newest `keep` up to the one just saved: a run that went on from an older one has disowned those beyond it."""
        known = [path for path in self._by_age() if path.name <= newest.name]
        kept = set(known[-keep:])
        if with_best:
            kept |= {min(known, key=_rank), *self._good(newest)}
        for path in self._by_age():
            if path not in kept:
                dropped = self._beside(path, DROPPED)
                remove(dropped)
                path.rename(dropped)
                failpoint("checkpoint.dropped")
        for path in self._named(PARTIAL, REPLACED, DROPPED):
            remove(path)
        failpoint("checkpoint.pruned")

    def _good(self, newest: Path) -> list[Path]:
        """The one that the run goes back to, if it has to, from the weights of `newest`."""
        good_at = Checkpoint(newest).state.get("stability", {}).get("good_at")
        return [] if good_at is None else [self.path_of(good_at)]

    def _set_aside(self, path: Path) -> None:
        """Give a damaged checkpoint a name that nothing reads, and drop the oldest such beyond DAMAGED_KEPT."""
        others = [each for each in self._named(DAMAGED) if each.name != DAMAGED + path.name]
        aside = self._beside(path, DAMAGED)
        try:
            remove(aside)
            path.rename(aside)
        except OSError as error:
            raise CheckpointError(f"checkpoint {path} is damaged and cannot be set aside: {disk_refusal(error)}") from error
        for old in others[: -(DAMAGED_KEPT - 1)]:
            remove(old)
        failpoint("restore.set_aside")

    def _refuse_links(self) -> None:
        """Raise CheckpointError where the folder, or one of what lies in it, is a link: all of a run lies in its own folder."""
        link = next((p for p in (self.folder, *(self.folder.iterdir() if self.folder.is_dir() else ())) if p.is_symlink()), None)
        if link:
            raise CheckpointError(f"{link} is a link, and a run's checkpoints lie in its own folder; put a plain folder in its place")

    def _by_age(self) -> list[Path]:
        return sorted(p for p in self._named("step_") if NAME.fullmatch(p.name))

    def _named(self, *beginnings: str) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if p.name.startswith(beginnings))

    @staticmethod
    def _beside(path: Path, beginning: str) -> Path:
        return path.with_name(beginning + path.name)


def _yardstick(path: Path) -> float:
    """The yardstick's figure right when the checkpoint at `path` was made, in nats; infinite where there is none."""
    try:
        figure = Checkpoint(path).state.get("yardstick")
    except (OSError, ValueError, TypeError, RecursionError):
        return math.inf
    return figure if isinstance(figure, float) and math.isfinite(figure) else math.inf


def _rank(path: Path) -> tuple[float, int]:
    """Sorts checkpoints, the best first, and of equal ones the newest."""
    return _yardstick(path), -int(path.name.removeprefix("step_"))
