"""Finds the corpus of a dataset, or makes it when it is missing or its source has changed."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from masklab.errors import DataError
from masklab.text import corpus, labelled_corpus
from masklab.text.corpus import TokenCorpus
from masklab.text.dataset import Dataset
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.sources.origin import LabelledOrigin

log = logging.getLogger(__name__)

Corpus = TokenCorpus | LabelledCorpus


def corpus_for(dataset: Dataset, folder: Path) -> Corpus:
    """The corpus of `dataset`, kept in `folder`: a TokenCorpus, or a LabelledCorpus where the dataset has labels.

    Raises DataError for whatever is wrong with the text; then the folder holds what it held before.
    """
    path = corpus_path(dataset, folder)
    # looked at before the text is read: a text that changes meanwhile is found changed next time
    state = dataset.origin.state()
    kept = _kept(dataset, path)
    if kept is not None and kept.provenance.get("state") == state:
        return kept
    _made(dataset, folder, _identity(dataset) | {"name": dataset.name, "state": state}).write(path)
    made = _open(dataset, path)
    log.info(
        "prepared %s: %s %s to train on, %s held out, %d different characters",
        path,
        f"{len(made.train):,}",
        "characters" if isinstance(made, TokenCorpus) else "rows",
        f"{len(made.validation):,}",
        made.vocabulary.size,
    )
    return made


def corpus_path(dataset: Dataset, folder: Path) -> Path:
    """The file of the corpus: its name tells datasets apart that differ in source, place, columns or split."""
    digest = hashlib.sha256(json.dumps(_identity(dataset), sort_keys=True).encode()).hexdigest()
    return folder / f"{dataset.name}-{digest[:12]}.arrow"


def _identity(dataset: Dataset) -> dict[str, str]:
    origin = dataset.origin
    identity = {
        "format": labelled_corpus.FORMAT if dataset.is_labelled else corpus.FORMAT,
        "source": dataset.source,
        "path": str(origin.place or ""),
        "validation_fraction": repr(dataset.validation_fraction),
    }
    if isinstance(origin, LabelledOrigin):
        columns = {key: str(value) for key, value in origin.model_dump(exclude={"source", "path"}).items()}
        identity |= columns | {"max_rows": str(dataset.max_rows or "all")}
    return identity


def _made(dataset: Dataset, folder: Path, provenance: dict[str, str]) -> Corpus:
    origin = dataset.origin
    if isinstance(origin, LabelledOrigin):
        where = origin.path or origin.source
        found = cleaned(origin.examples(), origin.label_type, where)
        return Splitting(dataset.validation_fraction, dataset.max_rows).of(found, origin.label_type, where, provenance)
    splits = origin.splits(dataset.validation_fraction, folder)
    return TokenCorpus(splits.train, splits.validation, splits.vocabulary, provenance)


def _open(dataset: Dataset, path: Path) -> Corpus:
    return LabelledCorpus.open(path) if dataset.is_labelled else TokenCorpus.open(path)


def _kept(dataset: Dataset, path: Path) -> Corpus | None:
    if not path.exists():
        return None
    try:
        return _open(dataset, path)
    except DataError as error:
        log.warning("%s; it is prepared again", error)
        return None


def text_for(dataset: Dataset, folder: Path) -> TokenCorpus:
    """The corpus of a `dataset` of plain text. Raises DataError when it has labels, and for whatever `corpus_for` does."""
    corpus = corpus_for(dataset, folder)
    if not isinstance(corpus, TokenCorpus):
        raise DataError(f"dataset = {dataset.name}: has labelled rows, and plain text is needed here; give another dataset")
    return corpus
