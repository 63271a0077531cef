"""The text that a trained model is scored on, in the model's own vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from masklab.errors import DataError
from masklab.inference.trained_model import TrainedModel
from masklab.text.corpus import TokenCorpus
from masklab.text.dataset import Dataset
from masklab.text.preparation import text_for

UNKNOWN_SHOWN = 8


def held_out_text(trained: TrainedModel, dataset: Dataset, home: Path, tell: Callable[[str], None]) -> TokenCorpus:
    """The corpus of `dataset`, and what a person should know of it to `tell`.

    Raises DataError when its validation split has characters that the model does not know.
    """
    corpus = text_for(dataset, home / ".corpora")
    if trained.corpus_fingerprint not in (None, corpus.fingerprint):
        tell(
            f"the text has changed since {trained.name} was trained: what is scored here may have been trained on"
            if dataset == trained.config.dataset
            else f"{trained.name} was trained on another text, {trained.config.dataset.name}, or on another split of this one"
        )
    return corpus if corpus.vocabulary == trained.vocabulary else _recoded(corpus, trained, dataset)


def _recoded(corpus: TokenCorpus, trained: TrainedModel, dataset: Dataset) -> TokenCorpus:
    """The validation split in the vocabulary of `trained`; a training split may have characters that this lacks, so it has none."""
    number = {character: i for i, character in enumerate(trained.vocabulary.characters)}
    there = [corpus.vocabulary.characters[token] for token in np.unique(corpus.validation)]
    if unknown := [character for character in there if character not in number]:
        shown = ", ".join(repr(character) for character in unknown[:UNKNOWN_SHOWN]) + (" ..." if len(unknown) > UNKNOWN_SHOWN else "")
        raise DataError(
            f"dataset {dataset.name} has {len(unknown)} characters that {trained.name} does not know ({shown}); "
            "score it on the text that it was trained on"
        )
    table = np.array([number.get(character, 0) for character in corpus.vocabulary.characters], trained.vocabulary.dtype)
    return TokenCorpus(np.zeros(0, table.dtype), table[corpus.validation], trained.vocabulary, corpus.provenance)
