"""What the driver hands to each worker of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.train import Config
from masklab.text.preparation import Corpus
from masklab.tracking.mlflow_run import RunHandle
from masklab.training.recipe import Recipe
from masklab.training.settings import BatchSettings


@dataclass(frozen=True)
class Assignment:
    """One run as its workers get it. `corpus` and `pools` are references into the object store, put there by the driver.

    They stand in lists, since Ray replaces a reference that is an argument of its own by its value.
    """

    run: str
    recipe: Recipe
    batches: BatchSettings
    threads: int
    use_gpu: bool
    checkpoints: Path
    documents: Mapping[str, str]
    corpus: list[Any]
    pools: list[Any]
    relay: Any
    tracking: RunHandle | None
    saves_beside: bool = True
    """Whether the loop goes on while a checkpoint is written."""


def documents_of(config: Config, corpus: Corpus) -> dict[str, str]:
    """What each checkpoint of a run holds beside its state, by file name: all that is needed to use its weights."""
    documents = {
        "config.yaml": dump(config),
        "vocabulary.json": json.dumps(corpus.vocabulary.to_json()),
        "corpus.json": json.dumps({"fingerprint": corpus.fingerprint}),
    }
    return documents | ({"labels.json": json.dumps(corpus.labels.to_json())} if corpus.labels else {})
