"""A run's folder.

config.yaml     the resolved config that the run was begun with
run.json        the number of this format, and what a resumed run needs again, such as the id of the MLflow run
checkpoints/    see checkpoint/store.py
figures/        plots
summary.json    the final metrics, written when the run is finished
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
LOOP_SECONDS = "loop_seconds"
"""Key of `run.json` of a run trained in one process: the seconds in its loop."""
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
"""Keys that may differ when a run is resumed, since they change no metric. So may descriptions."""
LONGEST_VALUE = 40
"""Most characters of a value in a message."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of the run `path.name`."""

    path: Path

    @classmethod
    def claim(cls, parent: Path, name: str, config: Mapping[str, Any]) -> RunFolder:
        """The folder of run `name` under `parent`, new or resumable. `config` is the resolved config as plain values.

        Raises RunError if the folder belongs to another config, is not a run's, or cannot be written.
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
            raise RunError(f"run folder {folder.path} holds files that are not a run's; use another run.name")
        if known is not None:
            folder._refuse_later_format()
            differing = sorted(_differing(redacted(known), redacted(config)))  # the file has no secrets
            if differing:
                shown = "; ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
                raise RunError(f"run '{name}' exists with another config ({shown}); use another run.name, or the config it was begun with")
        folder._writable()
        return folder

    def refuse_links(self) -> None:
        """Raise RunError if the folder, or an entry of it, is a link to another place: a run writes into its own folder only."""
        if not self.path.is_dir():
            return
        here = self.path.resolve()
        for path in (self.path, *sorted(self.path.iterdir())):
            if path.is_symlink() and (path == self.path or not path.resolve().is_relative_to(here)):
                raise RunError(
                    f"run folder {self.path}: {path.name} links to another place, but a run writes into its own folder only; remove it"
                )

    def _writable(self) -> None:
        """Raise RunError unless files can be created here. Leaves no file behind."""
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
        file = self.path / "config.yaml"
        if not file.is_file():
            return None
        loaded = read_yaml(file)
        if not isinstance(loaded, dict):
            raise yaml.YAMLError("not a mapping")
        return loaded

    def begin(self, config_yaml: str) -> None:
        """Create the folder, and write the config unless it has one."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / "config.yaml").exists():  # written first: a folder without it is not taken for a run's
                self.write("config.yaml", config_yaml)
                self.remember(format=FORMAT)
            (self.path / "figures").mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"run folder {self.path} cannot be written ({error.strerror}); set run.folder=") from error

    def write(self, name: str, text: str) -> None:
        write_text(self.path / name, text)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def is_finished(self) -> bool:
        return (self.path / "summary.json").is_file()

    def _refuse_later_format(self) -> None:
        number = self.memory().get("format", FORMAT)
        if not isinstance(number, int) or number > FORMAT:
            raise RunError(
                f"run folder {self.path} is of format {number}, and this masklab reads formats up to {FORMAT}; use the masklab that it "
                "was begun with, or another run.name"
            )

    def memory(self) -> dict[str, Any]:
        file = self.path / "run.json"
        try:
            return dict(json.loads(file.read_text())) if file.is_file() else {}
        except (OSError, ValueError) as error:
            raise RunError(
                f"{file} cannot be read ({type(error).__name__}); remove it to resume the run; remove spool/ beside it too to resume it as "
                "a new one in MLflow"
            ) from error

    def remember(self, **facts: Any) -> None:
        self.write("run.json", json.dumps(self.memory() | facts, indent=1))


def _differing(known: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    """Keys whose values differ, each as `key: old -> new`."""
    before, after = dict(leaves(known)), dict(leaves(asked))
    for key in before.keys() | after.keys():
        if key.startswith(CHANGEABLE) or key.endswith(".description"):
            continue
        old, new = before.get(key), after.get(key)
        if old != new:
            yield f"{key}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return shortened(" ".join(str(value).split()), LONGEST_VALUE)
