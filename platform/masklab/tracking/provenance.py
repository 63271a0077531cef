"""Where a run comes from, as tags that a person can search MLflow by."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import masklab
from masklab.training.transfer_settings import TransferSettings


def git_commit(folder: Path) -> str | None:
    """The commit checked out in `folder`, with `-dirty` after it when tracked files differ; None outside a repository."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        words = subprocess.run(
            [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return words.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions that figures may depend on, by name."""
    return {"masklab": masklab.__version__, "python": platform.python_version()} | {
        name: version(name) for name in ("torch", "numpy", "ray", "mlflow")
    }


def run_tags(folder: Path, corpus_fingerprint: str, curriculum_hash: str, job_id: str | None = None) -> dict[str, str]:
    """Tags of a run started from the project `folder`; the job is Ray's when the command was submitted to a cluster."""
    tags = {"corpus_fingerprint": corpus_fingerprint, "curriculum_hash": curriculum_hash}
    if commit := git_commit(folder):
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit.removesuffix("-dirty")}
    if job := job_id or os.environ.get("RAY_JOB_SUBMISSION_ID"):
        tags["job_id"] = job
    return tags


def source_tags(transfer: TransferSettings) -> dict[str, str]:
    """Tags that link a run to the one whose weights it began with: from each to its own source, back to the first."""
    if transfer.source is None:
        return {}
    source = transfer.source
    tags = {"source_checkpoint": source.checkpoint, "source_checkpoint_sha256": source.manifest_sha256, "source_mode": source.mode}
    tags |= {"source_run": source.run} if source.run else {}
    return tags | ({"source_run_id": source.mlflow_run_id} if source.mlflow_run_id else {})
