"""Where runs, corpora and the MLflow store lie."""

from __future__ import annotations

import os
from pathlib import Path


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
