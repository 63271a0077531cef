"""The classifier of texts: padding and the batch change nothing, losses and figures are those of a loop, and it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mode_batches import batch_of

from masklab.corruption.unmasked import Unmasked
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.modes.examples import Examples
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.rng import RowStreams, root_key
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.labelled_split import Splitting, cleaned
from masklab.text.labels import LabelType
from masklab.text.sources.origin import Example
from masklab.training.loss import LossModule

CPU = torch.device("cpu")
SMALL = ModelConfig(n_layer=2, n_head=2, n_embd=32)
SIZES = {"few": 6, "many": 30, "some": 14}


def corpus_of(label_type: LabelType) -> LabelledCorpus:
    """Texts that begin with the name of their class; or with as many signs as their number."""
    if label_type == "class":
        rows = [Example("", f"{name} words {i}", name) for name, size in SIZES.items() for i in range(size)]
    else:
        rows = [Example("", "!" * (i % 9) + f" words {i}", 100.0 + 5 * (i % 9)) for i in range(60)]
    return Splitting(0.3, None).of(cleaned(rows, label_type, "here"), label_type, "here", {})


def network(mode: SequenceClassifier, corpus: LabelledCorpus, seed: int = 3, **keys: Any) -> Transformer:
    return mode.build(SMALL.model_copy(update=keys), corpus.vocabulary, corpus.labels, seed).eval()


def examples(mode: SequenceClassifier, corpus: LabelledCorpus, block: int = 24) -> Examples:
    rows = corpus.validation_rows(block, 1000)
    streams = RowStreams.of(root_key(0), np.arange(len(rows)), len(rows))
    return mode.examples(rows, Unmasked(), streams, corpus.vocabulary)


@pytest.mark.parametrize("pooling", ["cls", "mean", "statistics"])
@pytest.mark.parametrize("label_type", ["class", "number"])
@pytest.mark.parametrize("time_conditioning", [False, True])
def test_padding_changes_nothing(pooling: Any, label_type: LabelType, time_conditioning: bool) -> None:
    corpus, mode = corpus_of(label_type), SequenceClassifier(pooling=pooling)
    model = network(mode, corpus, time_conditioning=time_conditioning)
    padded = corpus.validation_rows(40, 1000).tokens
    together = mode.predictions(model, padded, 64, CPU)
    for row, said in zip(padded, together, strict=True):
        bare = row[row != corpus.vocabulary.pad_id][None]
        assert bare.shape[1] < 40
        np.testing.assert_allclose(mode.predictions(model, bare, 1, CPU)[0], said, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "mean", "statistics"])
def test_what_stands_in_the_padding_has_no_influence_at_all(pooling: Any) -> None:
    corpus, mode = corpus_of("class"), SequenceClassifier(pooling=pooling)
    model = network(mode, corpus)
    padded = corpus.validation_rows(40, 1000).tokens
    before = mode.predictions(model, padded, 64, CPU)
    with torch.no_grad():
        model.embedding.weight[corpus.vocabulary.pad_id] += 100.0
    np.testing.assert_array_equal(mode.predictions(model, padded, 64, CPU), before)


@pytest.mark.parametrize("label_type", ["class", "number"])
def test_scores_do_not_depend_on_how_many_texts_are_scored_at_a_time(label_type: LabelType) -> None:
    corpus, mode = corpus_of(label_type), SequenceClassifier()
    model, made = network(mode, corpus), examples(SequenceClassifier(), corpus)
    all_at_once = mode.scores(model, made, 64, CPU)
    np.testing.assert_allclose(mode.scores(model, made, 1, CPU), all_at_once, rtol=1e-5)
    assert mode.scores(model, made.at(slice(0, 0)), 8, CPU).shape == (0, 2)
    assert not model.training and model.train() and mode.scores(model, made, 8, CPU).any() and model.training


def test_figures_of_classes_are_those_of_a_loop() -> None:
    corpus, mode = corpus_of("class"), SequenceClassifier(class_weights="balanced")
    model, made = network(mode, corpus), examples(mode, corpus)
    probability = mode.predictions(model, made.inputs, 8, CPU)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    true = corpus.validation.labels.tolist()
    taken = [max(range(3), key=lambda k, p=p: p[k]) for p in probability]  # type: ignore[misc]
    f1 = []
    for k in range(3):
        hits = sum(t == p == k for t, p in zip(true, taken, strict=True))
        if seen := true.count(k) + taken.count(k):
            f1.append(2 * hits / seen)
    figures = mode.metrics(mode.scores(model, made, 8, CPU), made)
    assert figures == pytest.approx(
        {
            "loss": np.mean([-np.log(p[t]) for p, t in zip(probability, true, strict=True)]),
            "accuracy": np.mean([t == p for t, p in zip(true, taken, strict=True)]),
            "macro_f1": np.mean(f1),
        }
    )


def test_figures_of_numbers_are_in_their_own_unit_and_the_loss_in_deviations() -> None:
    corpus, mode = corpus_of("number"), SequenceClassifier()
    model, made = network(mode, corpus), examples(mode, corpus)
    said = mode.predictions(model, made.inputs, 8, CPU)[:, 0]
    true = corpus.validation.labels.astype(np.float64)
    errors = [(s - t) ** 2 for s, t in zip(said, true, strict=True)]
    figures = mode.metrics(mode.scores(model, made, 8, CPU), made)
    assert figures["rmse"] == pytest.approx(np.sqrt(np.mean(errors)))
    assert figures["r_squared"] == pytest.approx(1 - sum(errors) / sum((true - true.mean()) ** 2))
    assert figures["loss"] == pytest.approx(np.mean(errors) / corpus.labels.deviation**2)
    assert abs(said.mean() - corpus.labels.mean) < 2 * corpus.labels.deviation


@pytest.mark.parametrize("label_type", ["class", "number"])
def test_the_loss_in_training_is_the_one_in_validation(label_type: LabelType) -> None:
    corpus, mode = corpus_of(label_type), SequenceClassifier(pooling="cls")
    model, made = network(mode, corpus), examples(mode, corpus)
    with torch.no_grad():
        losses = mode.losses(model, batch_of(made), 0.0)
    np.testing.assert_allclose(losses.numpy(), mode.scores(model, made, 8, CPU)[:, 0], rtol=1e-4, atol=1e-6)


def test_balanced_weights_are_beside_the_loss_and_not_in_the_scores() -> None:
    corpus = corpus_of("class")
    plain, balanced = SequenceClassifier(), SequenceClassifier(class_weights="balanced")
    made = examples(plain, corpus)
    with torch.no_grad():
        one, other = (mode.losses(network(mode, corpus), batch_of(made), 0.0).numpy() for mode in (plain, balanced))
        weights = balanced.weights(network(balanced, corpus), batch_of(made))
    np.testing.assert_array_equal(one, other)
    assert weights is not None and plain.weights(network(plain, corpus), batch_of(made)) is None
    rows = np.bincount(corpus.train.labels.astype(np.int64))
    expected = rows.sum() / (3 * rows)
    np.testing.assert_allclose(weights, expected[corpus.validation.labels.astype(np.int64)], rtol=1e-5)
    coefficients = torch.linspace(1, 2, len(made))
    with torch.no_grad():
        weighted_sum, plain_sum = LossModule(network(balanced, corpus), balanced, 0.0)(batch_of(made), coefficients)
    assert weighted_sum.item() == pytest.approx((one * weights.numpy() * coefficients.numpy()).sum(), rel=1e-5)
    assert plain_sum.item() == pytest.approx(one.sum(), rel=1e-5)
    scored = [mode.scores(network(mode, corpus), made, 8, CPU) for mode in (plain, balanced)]
    np.testing.assert_array_equal(*scored)


def test_what_follows_from_the_labels_is_not_among_the_weights() -> None:
    for label_type in ("class", "number"):
        corpus = corpus_of(label_type)  # type: ignore[arg-type]
        model = network(SequenceClassifier(), corpus)
        features = {"output.mean", "output.deviation"}
        assert set(model.state_dict()) == {name for name, _ in model.named_parameters()} | features
        assert model.head(torch.zeros(1, 64)).shape == (1, 3 if label_type == "class" else 1)


@pytest.mark.parametrize("pooling", ["cls", "mean", "statistics"])
@pytest.mark.parametrize("label_type", ["class", "number"])
def test_it_learns_what_can_be_learnt(pooling: Any, label_type: LabelType) -> None:
    corpus, mode = corpus_of(label_type), SequenceClassifier(pooling=pooling)
    model = network(mode, corpus).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    source = corpus.training_rows(24)
    for step in range(80):
        rows = source.take(0, np.arange(16) + 16 * step)
        streams = RowStreams.of(root_key(0, step), np.arange(16), 16)
        loss = mode.losses(model, batch_of(mode.examples(rows, Unmasked(), streams, corpus.vocabulary)), 0.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = examples(mode, corpus)
    figures = mode.metrics(mode.scores(model, made, 8, CPU), made)
    assert figures.get("accuracy", 1) > 0.9
    assert figures.get("r_squared", 1) > 0.8


def test_of_very_many_classes_the_figures_are_told_and_no_matrix_is_made() -> None:
    mode, classes = SequenceClassifier(), 60_000  # whose matrix would have 29 GB
    targets = np.array([[0], [1], [classes - 1], [1]], np.uint16)
    none = np.zeros(4, np.float32)
    pool = Examples(np.zeros((4, 1), np.uint8), targets, np.ones((4, 1), bool), none, none)
    scores = np.array([[0.5, 0], [0.5, 1], [0.5, 1], [0.5, 2]])
    figures = mode.metrics(scores, pool)
    assert figures == pytest.approx({"loss": 0.5, "accuracy": 0.5, "macro_f1": (1 + 0.5 + 0 + 0) / 4})
    assert mode.confusion(scores, pool) is None
