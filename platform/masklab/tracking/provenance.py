"""The origin of a run for MLflow: tags to search by (commit, corpus, curriculum, source checkpoint) and the dataset."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import masklab
from masklab.io.redaction import redact
from masklab.training.settings import TransferSettings

if TYPE_CHECKING:
    from masklab.text.dataset import Dataset
    from masklab.text.preparation import Corpus

DIGEST_LENGTH = 36
"""Characters that MLflow accepts."""


def git_commit(folder: Path) -> str | None:
    """The commit checked out in `folder`, followed by `-dirty` if tracked files have changed; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return described.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions that results may depend on, by package."""
    return {"masklab": masklab.__version__, "python": platform.python_version()} | {
        name: version(name) for name in ("torch", "numpy", "ray", "mlflow")
    }


def run_tags(folder: Path, corpus_fingerprint: str, curriculum_hash: str, job_id: str | None = None) -> dict[str, str]:
    """Tags of a run started from the project `folder`. `job_id` is by default that of the Ray job, if the command was submitted as one."""
    tags = {"corpus_fingerprint": corpus_fingerprint, "curriculum_hash": curriculum_hash}
    if commit := git_commit(folder):
        tags |= {"git_commit": commit, "mlflow.source.git.commit": commit.removesuffix("-dirty")}
    if job := job_id or os.environ.get("RAY_JOB_SUBMISSION_ID"):
        tags["job_id"] = job
    return tags


def source_tags(transfer: TransferSettings) -> dict[str, str]:
    """Tags that link a run to the run whose checkpoint it started from."""
    if transfer.source is None:
        return {}
    source = transfer.source
    tags = {"source_checkpoint": source.checkpoint, "source_checkpoint_sha256": source.manifest_sha256, "source_mode": source.mode}
    tags |= {"source_run": source.run} if source.run else {}
    return tags | ({"source_run_id": source.mlflow_run_id} if source.mlflow_run_id else {})


@dataclass(frozen=True)
class DatasetInput:
    """A run's dataset. `fingerprint` is the corpus's; `sizes` are the characters of each split."""

    name: str
    fingerprint: str
    source: str
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, dataset: Dataset, corpus: Corpus) -> DatasetInput:
        return cls(dataset.name, corpus.fingerprint, redact(str(dataset.path or dataset.name)), corpus.characters)

    def entity(self) -> Any:
        """MLflow's dataset entity: name, digest, source, and the sizes as its profile."""
        from mlflow import entities

        return entities.DatasetInput(
            dataset=entities.Dataset(
                name=self.name,
                digest=self.fingerprint[:DIGEST_LENGTH],
                source_type="local",
                source=json.dumps({"uri": redact(self.source)}),
                profile=json.dumps({f"{split}_chars": size for split, size in self.sizes.items()}),
            ),
            tags=[entities.InputTag("mlflow.data.context", "training")],
        )
