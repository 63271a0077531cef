"""The folder of runs, corpora and the MLflow store."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from masklab.io.paths import absolute_path

if TYPE_CHECKING:
    from masklab.training.settings import RunSettings


def home_of(project: Path) -> Path:
    """$MASKLAB_HOME, else the project folder.

    A job submitted with a working directory runs in a copy that Ray deletes, so its runs go to `~/masklab` instead.
    """
    chosen = os.environ.get("MASKLAB_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if "working_dir_files" in project.parts:
        home = Path.home() / "masklab"
        print(f"this is Ray's temporary copy of the project: runs and the MLflow store are kept in {home} (set MASKLAB_HOME to change it)")
        return home
    return project


def runs_folder(run: RunSettings, home: Path) -> Path:
    """The folder that holds the folder of `run`: `run.folder`, else `runs` in `home`."""
    return absolute_path(run.folder, "run.folder") if run.folder else home / "runs"


def run_name(run: RunSettings, prefix: str, started_at: float) -> str:
    """The name of `run`, else `prefix` and the local time of `started_at` (seconds since the epoch)."""
    return run.name or f"{prefix}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(started_at))}"
