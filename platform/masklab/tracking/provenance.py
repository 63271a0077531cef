"""Where a run comes from, as tags that a person can search MLflow by."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import masklab
from masklab.io.redaction import redact
from masklab.training.transfer_settings import TransferSettings

if TYPE_CHECKING:
    from masklab.text.dataset import Dataset
    from masklab.text.preparation import Corpus


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


DIGEST_LENGTH = 36


@dataclass(frozen=True)
class DatasetInput:
    """`fingerprint` is the corpus's; `sizes` are the characters in each split."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset, corpus: Corpus) -> DatasetInput:
        """The text of `dataset`, as it was prepared."""
        return cls(dataset.name, corpus.fingerprint, redact(str(dataset.path or dataset.name)), corpus.characters)

    def entity(self) -> Any:
        """MLflow's plain dataset entity: name, digest, source, and the sizes as a profile."""
        from mlflow import entities

        splits = {f"{split}_chars": size for split, size in self.sizes.items()}
        return entities.DatasetInput(
            dataset=entities.Dataset(
                name=self.name,
                digest=self.fingerprint[:DIGEST_LENGTH],
                source_type="local",
                source=json.dumps({"uri": redact(self.source)}),
                profile=json.dumps(splits),
            ),
            tags=[entities.InputTag("mlflow.data.context", "training")],
        )
