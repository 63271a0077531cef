"""The language model: what it learns from, what it can see, and its loss by a literal loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mode_batches import batch_of

from masklab.corruption.unmasked import Unmasked
from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.windows import ScoredWindows
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.modes.examples import Examples
from masklab.modes.language_model import LanguageModel
from masklab.rng import RowStreams, root_key
from masklab.text.corpus import TokenCorpus
from masklab.text.rows import Rows

T = 12
CPU = torch.device("cpu")


def examples(corpus: TokenCorpus, count: int = 5) -> Examples:
    rows = corpus.validation_rows(LanguageModel().window(T), count)
    return LanguageModel().examples(rows, Unmasked(), RowStreams.of(root_key(1), np.arange(count), count), corpus.vocabulary)


@pytest.fixture(scope="module", params=["plain", "swiglu and rms"])
def model(request: pytest.FixtureRequest, corpus: TokenCorpus) -> Transformer:
    """A network with opinions."""
    keys: dict[str, Any] = {"activation": "swiglu", "norm": "rms", "tied_head": False} if request.param != "plain" else {}
    network = LanguageModel().build(ModelConfig(n_layer=2, n_head=2, n_embd=16, **keys), corpus.vocabulary, seed=1)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return network.eval()


def test_each_position_is_to_predict_the_next_character(corpus: TokenCorpus) -> None:
    text = np.arange(T + 1, dtype=np.uint8)[None] % corpus.vocabulary.size
    made = LanguageModel().examples(Rows(text), Unmasked(), RowStreams.of(root_key(1), np.arange(1), 1), corpus.vocabulary)
    assert made.inputs.tolist() == text[:, :T].tolist()
    assert made.targets.tolist() == text[:, 1:].tolist()
    assert made.selected.all() and made.selected.shape == (1, T)


def test_no_output_depends_on_a_later_character(model: Transformer, corpus: TokenCorpus) -> None:
    tokens = torch.from_numpy(examples(corpus).inputs.astype(np.int64))
    with torch.no_grad():
        usual = model(tokens)
        for position in range(T):
            changed = tokens.clone()
            changed[:, position] = (changed[:, position] + 1) % corpus.vocabulary.size
            moved = (model(changed) - usual).abs().amax(dim=(0, 2))
            assert (moved[:position] < 1e-6).all()
            assert (moved[position:] > 1e-6).all()


def test_the_loss_is_that_of_a_literal_loop_over_prefixes(model: Transformer, corpus: TokenCorpus) -> None:
    made, mode = examples(corpus, 3), LanguageModel()
    expected = []
    with torch.no_grad():
        for text, targets in zip(made.inputs, made.targets, strict=True):
            for position in range(T):
                logits = model(torch.from_numpy(text[: position + 1].astype(np.int64))[None])[0, -1].double()
                expected.append(float(logits.logsumexp(0) - logits[int(targets[position])]))
        got = mode.losses(model, batch_of(made), label_smoothing=0.0)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-5)
    figures = mode.metrics(mode.scores(model, made, 2, CPU), made)
    assert figures["loss"] == pytest.approx(np.mean(expected), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_scores_are_the_exact_likelihood_whatever_the_batch_size(model: Transformer, corpus: TokenCorpus, batch_size: int) -> None:
    made, mode = examples(corpus), LanguageModel()
    exact = autoregressive_nll(model, ScoredWindows.of(corpus, T, 5, context=1), batch_size=3)
    scores = mode.scores(model, made, batch_size, CPU)
    np.testing.assert_allclose(scores[:, 0] / scores[:, 1], exact.values, rtol=1e-5)
