"""A run's own folder: its resolved config, checkpoints, figures and summary.

config.yaml     the resolved config the run was begun with
run.json        the number of this format, and what a resumed run must find again, such as the MLflow run
checkpoints/    see checkpoint.py
figures/        pictures
summary.json    the final figures, written when the run is finished
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from masklab.errors import RunError, shortened
from masklab.io.atomic_file import UNFINISHED, write_text
from masklab.io.paths import RULE, is_name
from masklab.io.redaction import redacted
from masklab.io.safe_yaml import read_yaml
from masklab.schema import leaves

FORMAT = 2
"""Of a run's folder. Those of format 1 carry no number; their config lacks keys that came later, which stand at what they are now."""
LOOP_SECONDS = "loop_seconds"
"""What a run that was trained in one process remembers: the time in its loop, until its end."""
CHANGEABLE = (
    "scaling",
    "batches",
    "tracking",
    "run.folder",
    "stability.max_rollbacks",
    "compare.seeds",
    "compare.parallel",
    "sweep.num_trials",
    "sweep.parallel",
)
"""Parts of a config that may change between the parts of one run, since they change no figure; nor do descriptions."""
LONGEST_VALUE = 40
"""Characters of a value in a message."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of the run `path.name`."""

    path: Path

    @classmethod
    def claim(cls, parent: Path, name: str, config: Mapping[str, Any]) -> RunFolder:
        """The folder of run `name` under `parent`, new or resumable. Raises RunError when it belongs to another config.

        `config` is the resolved config as plain values.
        """
        if not is_name(name):
            raise RunError(f"run.name = {name[:LONGEST_VALUE]!r}: {RULE}")
        folder = cls(parent / name)
        if folder.path.is_symlink() or (folder.path.exists() and not folder.path.is_dir()):
            raise RunError(f"run folder {folder.path} is not a plain folder; use another run.name")
        folder.refuse_links()
        try:
            known = folder.config()
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(
                f"run folder {folder.path}: config.yaml cannot be read ({type(error).__name__}); use another run.name"
            ) from error
        if known is None and folder.path.exists() and any(not file.match(UNFINISHED) for file in folder.path.iterdir()):
            raise RunError(f"run folder {folder.path} holds files that are no run's; use another run.name")
        if known is not None:
            is_older = folder._format() < FORMAT
            differing = sorted(_differing(redacted(known), redacted(config), is_older))  # the file has no secrets
            if differing:
                shown = "; ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
                raise RunError(f"run '{name}' exists with another config ({shown}); use another run.name, or the config it was begun with")
        folder._writable()
        return folder

    def refuse_links(self) -> None:
        """Raise RunError where the folder, or something right in it, is a link to elsewhere: a run writes into its own folder only."""
        if not self.path.is_dir():
            return
        here = self.path.resolve()
        for path in (self.path, *sorted(self.path.iterdir())):
            if path.is_symlink() and (path == self.path or not path.resolve().is_relative_to(here)):
                raise RunError(f"run folder {self.path}: {path.name} is a link to elsewhere, and a run keeps to its own folder; remove it")

    def _writable(self) -> None:
        """Raise RunError unless files can be made here; leave nothing behind that was not there."""
        here = next(p for p in (self.path, *self.path.parents) if p.exists())
        if not (here.is_dir() and os.access(here, os.W_OK | os.X_OK)):
            raise RunError(f"run folder {self.path} cannot be written ({here} is not a folder that may be written); set run.folder=")
        try:
            probe = here / f".masklab_{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written ({error.strerror}); set run.folder=") from error

    def config(self) -> dict[str, Any] | None:
        """The resolved config the run was begun with; None for a run that was not begun."""
        file = self.path / "config.yaml"
        if not file.is_file():
            return None
        loaded = read_yaml(file)
        if not isinstance(loaded, dict):
            raise yaml.YAMLError("not a mapping")
        return loaded

    def begin(self, config_yaml: str) -> None:
        """Make the folder, and write the config unless the run has one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "config.yaml").exists():  # comes first, since what is there without it is taken for no run's
                self.write("config.yaml", config_yaml)
                self.remember(format=FORMAT)
            (self.path / "figures").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written ({error.strerror}); set run.folder=") from error

    def write(self, name: str, text: str) -> None:
        """Write a whole file: it is there as a whole or not at all."""
        write_text(self.path / name, text)

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        """Where the pictures lie."""
        return self.path / "figures"

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / "summary.json").is_file()

    def _format(self) -> int:
        """The number of the folder's format. Raises RunError for one that only a later masklab reads."""
        number = self.memory().get("format", 1)
        if not isinstance(number, int) or number > FORMAT:
            raise RunError(
                f"run folder {self.path} is of format {number}, and this masklab reads formats up to {FORMAT}; use the masklab that it "
                "was begun with, or another run.name"
            )
        return number

    def memory(self) -> dict[str, Any]:
        """What `run.json` holds; empty for a run that was not begun."""
        file = self.path / "run.json"
        try:
            return dict(json.loads(file.read_text())) if file.is_file() else {}
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} cannot be read ({type(error).__name__}); remove it to resume the run, and spool/ beside it too to have that as a "
                "new one in MLflow"
            ) from error

    def remember(self, **facts: Any) -> None:
        """Add facts to `run.json`."""
        self.write("run.json", json.dumps(self.memory() | facts, indent=1))


def _differing(known: dict[str, Any], asked: dict[str, Any], is_older: bool) -> Iterator[str]:
    """Keys whose values differ, each as `key: old -> new`; one that an older file did not know of does not differ."""
    before, after = dict(leaves(known)), dict(leaves(asked))
    for key in before.keys() | after.keys():
        if key.startswith(CHANGEABLE) or key.endswith(".description") or (is_older and key not in before and _lacks(known, key)):
            continue
        old, new = before.get(key), after.get(key)
        if old != new:
            yield f"{key}: {_shown(old)} -> {_shown(new)}"


def _lacks(tree: Any, key: str) -> bool:
    """Whether a section of `tree` has no such key; a list that is shorter than another, and a part that was left out, have it."""
    for part in key.split("."):
        if isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        else:
            return isinstance(tree, Mapping)
    return False


def _shown(value: Any) -> str:
    return shortened(" ".join(str(value).split()), LONGEST_VALUE)
