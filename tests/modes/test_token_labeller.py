"""The classifier of characters: padding and unlabelled characters change nothing, and figures are those of a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mode_batches import batch_of

from masklab.corruption.unmasked import Unmasked
from masklab.errors import ConfigError
from masklab.model.config import ModelConfig
from masklab.modes.examples import Examples
from masklab.modes.token_labeller import TokenLabeller
from masklab.rng import RowStreams, root_key
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.sources.origin import Example
from masklab.training.loss import LossModule

metrics = pytest.importorskip("sklearn.metrics")
CPU = torch.device("cpu")
SMALL = ModelConfig(n_layer=2, n_head=2, n_embd=32)


@pytest.fixture(scope="module")
def corpus() -> LabelledCorpus:
    """Vowels, consonants and digits; blanks have no label."""
    kinds = {"a": "vowel", "e": "vowel", "b": "other", "k": "other", " ": None} | dict.fromkeys("0123456789", "digit")
    texts = [f"{'abe'[i % 3]}{'ke '[i % 3]}{i}{'kab' * (i % 4)}" for i in range(60)]
    rows = [Example("", text, [kinds[c] for c in text]) for text in texts]
    return Splitting(0.3, None).of(cleaned(rows, "per_token", "here"), "per_token", "here", {})


def examples(corpus: LabelledCorpus, block: int) -> Examples:
    rows = corpus.validation_rows(block, 1000)
    return TokenLabeller().examples(rows, Unmasked(), RowStreams.of(root_key(0), np.arange(len(rows)), len(rows)), corpus.vocabulary)


def test_labelled_characters_are_counted_and_no_others(corpus: LabelledCorpus) -> None:
    made = examples(corpus, 16)
    blank = corpus.vocabulary.encode(" ")[0]
    assert not made.selected[(made.inputs == blank) | (made.inputs == corpus.vocabulary.pad_id)].any()
    assert made.selected.sum() == (corpus.validation.labels >= 0).sum()


def test_figures_are_those_of_scikit_learn_over_the_labelled_characters(corpus: LabelledCorpus) -> None:
    mode, made = TokenLabeller(), examples(corpus, 16)
    model = mode.build(SMALL, corpus.vocabulary, corpus.labels, 5)
    with torch.no_grad():
        keys = torch.from_numpy(made.inputs != corpus.vocabulary.pad_id)
        logits = model.head(model.hidden(torch.from_numpy(made.inputs.astype(np.int64)), keys_BT=keys))[torch.from_numpy(made.selected)]
    true, predicted = made.targets[made.selected], logits.argmax(-1).numpy()
    expected = {
        "loss": metrics.log_loss(true, logits.double().softmax(-1).numpy(), labels=[0, 1, 2]),
        "accuracy": metrics.accuracy_score(true, predicted),
        "macro_f1": metrics.f1_score(true, predicted, average="macro", zero_division=0),
    }
    for batch_size in (1, 7, 64):
        assert mode.metrics(mode.scores(model, made, batch_size, CPU), made) == pytest.approx(expected, rel=1e-5)
    assert mode.scores(model, made.at(slice(0, 0)), 4, CPU).shape == (0, 10)


def test_padding_changes_nothing(corpus: LabelledCorpus) -> None:
    mode = TokenLabeller()
    model = mode.build(SMALL, corpus.vocabulary, corpus.labels, 5)
    short, long = (mode.scores(model, examples(corpus, block), 8, CPU) for block in (16, 40))
    np.testing.assert_allclose(short, long, rtol=1e-5)


def test_it_learns_what_can_be_learnt_and_weighs_classes(corpus: LabelledCorpus) -> None:
    mode = TokenLabeller(class_weights="balanced")
    model = mode.build(SMALL, corpus.vocabulary, corpus.labels, 5)
    made = examples(corpus, 16)
    with torch.no_grad():
        weights = mode.weights(model, batch_of(made))
    assert weights is not None and TokenLabeller().weights(model, batch_of(made)) is None
    counts = np.bincount(corpus.train.labels[corpus.train.labels >= 0].astype(np.int64))
    np.testing.assert_allclose(weights.numpy(), (counts.sum() / (3 * counts))[made.targets[made.selected]], rtol=1e-5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = LossModule(model, mode, 0.0)(batch_of(made), torch.ones(len(made)))[0] / made.selected.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert mode.metrics(mode.scores(model, made, 8, CPU), made)["accuracy"] > 0.95


def test_another_number_of_classes_is_refused(corpus: LabelledCorpus) -> None:
    assert TokenLabeller(num_classes=3).outputs(corpus.labels) == 3
    with pytest.raises(ConfigError, match=r"mode\.num_classes = 4: the labels have 3 classes"):
        TokenLabeller(num_classes=4).build(SMALL, corpus.vocabulary, corpus.labels)
