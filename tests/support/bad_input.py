"""Bad input handed to jobs in this process, as far as the checks that need no cluster, and what must hold of every one of them.

A job ends with 0, or with 2 and one line for the user; what it refuses leaves nothing behind, and what it takes writes only where
prepared texts are kept.
"""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from masklab.cluster.train.plan import Plan
from masklab.config.command_line.main import main
from masklab.config.jobs.registry import RUN_GROUPS, TRAIN, JobTree
from masklab.text.preparation import corpus_for

PROJECT = Path(__file__).resolve().parents[2]
TEXT = "The mask hides a letter, and the model guesses it.\n\nThen it does so again.\n" * 40
SMALL = (
    "training.batch_size=4",
    "training.block_size=16",
    "validation.sequences=4",
    "validation.nelbo_sequences=4",
    "validation.final_nelbo_sequences=4",
    "tracking.enabled=false",
)
DEFAULTS = ("annealed", "python_docs")
PREPARE = JobTree("prepare", "PrepareConfig", groups=RUN_GROUPS)
TREE_FOLDERS = ("curricula", "datasets", "jobs/conf")


def many(examples: int) -> settings:
    """That many inputs, the same ones every time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


@dataclass
class Victim:
    """A project and a home, and the counts of what became of the inputs."""

    root: Path
    home: Path
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def in_folder(cls, folder: Path, groups: Sequence[str] = ()) -> Victim:
        """A copy of the project's configuration, of `curricula` and `datasets` only the default ones and `groups` where some are named."""
        for place in TREE_FOLDERS:
            shutil.copytree(PROJECT / place, folder / "project" / place)
        for file in (folder / "project").glob("*/*.yaml") if groups else ():
            if file.stem not in (*DEFAULTS, *groups):
                file.unlink()
        (folder / "home").mkdir()
        (folder / "home" / "text.txt").write_text(TEXT, encoding="utf-8")
        return cls(folder / "project", folder / "home")

    @property
    def plain_text(self) -> list[str]:
        """Overrides that choose the text in the home."""
        return ["dataset=text", f"dataset.path={self.home / 'text.txt'}", *SMALL]

    def train(self, config: Any) -> None:
        """As `jobs/train.py`, without a cluster."""
        Plan.of(config, self.home, 0.0)

    def prepare(self, config: Any) -> None:
        """As `jobs/prepare.py`."""
        corpus_for(config.dataset, self.home / ".corpora")

    def call(self, overrides: Sequence[str], run: Callable[[Any], int | None] | None = None, tree: JobTree = TRAIN) -> str:
        """Give a job the words of a command line, and hold what it does against the promise. Returns the line that it refuses with."""
        before = self._contents()
        printed, told = io.StringIO(), io.StringIO()
        with redirect_stderr(told), redirect_stdout(printed):
            status = main("train", "", run or self.train, self.root, list(overrides), tree)
        line = told.getvalue()
        assert status in (0, 2), f"{list(overrides)!r}: {line}"
        after = self._contents()
        if status == 2:
            assert line.startswith("masklab: error: ") and line.endswith("\n") and line.count("\n") == 1, line
            assert line[:-1].isprintable(), f"{line!r}: holds signs that a terminal could take for commands"
        new = {path for path in after - before if ".corpora" not in path}
        assert not new and not before - after, f"{list(overrides)!r}: wrote {sorted(new)}"
        self.counts["refused" if status else "taken"] += 1
        return line if status else ""

    def _contents(self) -> set[str]:
        """What lies in the home, beside the project, and where its files are written."""
        return contents(self.home) | {str(path) for folder in (self.root, self.root.parent) for path in folder.iterdir()}

    @property
    def total(self) -> int:
        """The inputs up to now."""
        return self.counts.total()


def contents(folder: Path) -> set[str]:
    """All paths under `folder`."""
    return {os.path.join(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)}  # noqa: PTH118
