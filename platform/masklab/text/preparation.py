"""Finds the corpus of a dataset, or makes it when it is missing or its source has changed."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from masklab.errors import DataError
from masklab.text.corpus import FORMAT, TokenCorpus
from masklab.text.dataset import Dataset

log = logging.getLogger(__name__)


def corpus_for(dataset: Dataset, folder: Path) -> TokenCorpus:
    """The corpus of `dataset`, kept in `folder`.

    Raises DataError for whatever is wrong with the text; then the folder holds what it held before.
    """
    path = corpus_path(dataset, folder)
    # looked at before the text is read: a text that changes meanwhile is found changed next time
    state = dataset.origin.state()
    kept = _kept(path)
    if kept is not None and kept.provenance.get("state") == state:
        return kept
    splits = dataset.origin.splits(dataset.validation_fraction, folder)
    provenance = _identity(dataset) | {"name": dataset.name, "state": state}
    TokenCorpus(splits.train, splits.validation, splits.vocabulary, provenance).write(path)
    corpus = TokenCorpus.open(path)
    log.info(
        "prepared %s: %s characters to train on, %s held out, %d different",
        path,
        f"{len(corpus.train):,}",
        f"{len(corpus.validation):,}",
        corpus.vocabulary.size,
    )
    return corpus


def corpus_path(dataset: Dataset, folder: Path) -> Path:
    """The file of the corpus: its name tells datasets apart that differ in source, place or split."""
    digest = hashlib.sha256(json.dumps(_identity(dataset), sort_keys=True).encode()).hexdigest()
    return folder / f"{dataset.name}-{digest[:12]}.arrow"


def _identity(dataset: Dataset) -> dict[str, str]:
    return {
        "format": FORMAT,
        "source": dataset.source,
        "path": str(dataset.origin.place or ""),
        "validation_fraction": repr(dataset.validation_fraction),
    }


def _kept(path: Path) -> TokenCorpus | None:
    """The corpus at `path` if there is a whole one."""
    if not path.exists():
        return None
    try:
        return TokenCorpus.open(path)
    except DataError as error:
        log.warning("%s; it is prepared again", error)
        return None
