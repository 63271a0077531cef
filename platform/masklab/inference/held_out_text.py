"""The text, or the labelled rows, that a trained model is scored on, in the model's own vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from masklab.errors import DataError
from masklab.inference.job import Job
from masklab.inference.trained_model import TrainedModel
from masklab.text.corpus import TokenCorpus
from masklab.text.dataset import Dataset
from masklab.text.labelled_corpus import LabelledCorpus, LabelledRows
from masklab.text.preparation import corpus_for, text_for
from masklab.text.vocabulary import Vocabulary

UNKNOWN_SHOWN = 8
"""Unknown characters that a message names."""


def held_out_text(job: Job, dataset: Dataset) -> TokenCorpus:
    """The corpus of `dataset` in the model's vocabulary, with a notice for another text than it was trained on. Raises DataError."""
    trained, corpus = job.trained, text_for(dataset, job.home / ".corpora")
    if trained.corpus_fingerprint not in (None, corpus.fingerprint):
        job.notice(
            f"the text has changed since {trained.name} was trained: what is scored here may have been trained on"
            if dataset == trained.config.dataset
            else f"{trained.name} was trained on another text, {trained.config.dataset.name}, or on another split of this one"
        )
    if corpus.vocabulary == trained.vocabulary:
        return corpus
    table = _recoding(corpus.vocabulary, corpus.validation, trained, dataset)
    # the training split may have characters that the model does not know, so it is left empty
    return TokenCorpus(np.zeros(0, table.dtype), table[corpus.validation], trained.vocabulary, corpus.provenance)


def held_out_rows(job: Job, dataset: Dataset) -> tuple[LabelledCorpus, LabelledRows]:
    """The corpus, and its validation rows with the model's tokens and classes. Raises DataError for unknown labels or characters."""
    trained, corpus = job.trained, corpus_for(dataset, job.home / ".corpora")
    own, labels = trained.labels, corpus.labels
    assert own is not None
    if labels is None or (labels.of, labels.is_number) != (own.of, own.is_number) or not set(labels.names) <= set(own.names):
        strange = sorted(set(labels.names) - set(own.names))[:3] if labels else []
        which = f"the labels {', '.join(map(repr, strange))}" if strange else "no labels such as these"
        raise DataError(f"dataset {dataset.name} has {which}, which {trained.name} was not trained on; score it on its own dataset")
    if trained.corpus_fingerprint not in (None, corpus.fingerprint):
        job.notice(f"the rows are not those that {trained.name} was trained with: what is scored here may have been trained on")
    assert isinstance(corpus, LabelledCorpus)
    rows = corpus.validation
    tokens = _recoding(corpus.vocabulary, rows.tokens, trained, dataset)[rows.tokens]
    if own.is_number:
        return corpus, LabelledRows(tokens, rows.offsets, rows.labels)
    numbers = np.array([*(own.names.index(name) for name in labels.names), -1], np.int64)
    return corpus, LabelledRows(tokens, rows.offsets, numbers[rows.labels.astype(np.int64)])


def _recoding(vocabulary: Vocabulary, tokens: NDArray[np.integer], trained: TrainedModel, dataset: Dataset) -> NDArray[np.integer]:
    """For each character of `vocabulary` its token in the model's. Raises DataError when `tokens` hold a character that the model lacks."""
    number = {character: i for i, character in enumerate(trained.vocabulary.characters)}
    characters: Sequence[str] = vocabulary.characters
    if unknown := [characters[token] for token in np.unique(tokens) if characters[token] not in number]:
        names = ", ".join(map(repr, unknown[:UNKNOWN_SHOWN])) + (" ..." if len(unknown) > UNKNOWN_SHOWN else "")
        raise DataError(
            f"dataset {dataset.name} has {len(unknown)} characters that {trained.name} does not know ({names}); "
            "score it on the text that it was trained on"
        )
    return np.array([number.get(character, 0) for character in characters], trained.vocabulary.dtype)
