"""Scoring is a plain cross-entropy at the selected positions, whatever the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from masklab.likelihood.nelbo import nelbo
from masklab.model.config import ModelConfig
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import ROUND_TO, SequenceScores, score_sequences

V, E, N, T = 11, 16, 13, 12
CPU = torch.device("cpu")


def network(**keys: object) -> Transformer:
    model = Transformer(ModelConfig(n_layer=2, n_head=2, n_embd=16, **keys), V, E, seed=1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model


@pytest.fixture
def pool() -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(5)
    targets = generator.integers(0, V, (N, T)).astype(np.uint8)
    selected = generator.random((N, T)) < generator.random((N, 1))
    selected[3] = False
    inputs = np.where(selected, V, targets).astype(np.uint8)
    return inputs, targets, selected, selected.mean(1).astype(np.float32)


def score(model: torch.nn.Module, pool: tuple[np.ndarray, ...], batch_size: int) -> SequenceScores:
    return score_sequences(model, *pool, batch_size=batch_size, device=CPU)  # type: ignore[arg-type]


def figures(scores: SequenceScores) -> np.ndarray:
    return np.stack([scores.cross_entropy_sum, scores.count, scores.correct, scores.true_probability_sum])


@pytest.mark.parametrize("time_conditioning", [False, True])
def test_equals_a_literal_scoring_of_one_position_at_a_time(pool: tuple[np.ndarray, ...], time_conditioning: bool) -> None:
    model = network(time_conditioning=time_conditioning).double().eval()
    inputs, targets, selected, level = pool
    expected = np.zeros((4, N))
    for n in range(N):
        with torch.no_grad():
            logits = model(torch.tensor(inputs[n : n + 1].astype(np.int64)), torch.tensor(level[n : n + 1]))[0].numpy()
        for t in np.flatnonzero(selected[n]):
            probability = np.exp(logits[t]) / np.exp(logits[t]).sum()
            true = probability[targets[n, t]]
            expected[:, n] += [-math.log(true), 1, true == probability.max(), true]
    np.testing.assert_allclose(figures(score(model, pool, 4)), expected, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_size_changes_no_figure(pool: tuple[np.ndarray, ...], batch_size: int) -> None:
    model = network().double()
    np.testing.assert_allclose(figures(score(model, pool, batch_size)), figures(score(model, pool, 5)), rtol=1e-9)


def test_twice_the_same_to_the_last_bit(pool: tuple[np.ndarray, ...]) -> None:
    model = network()
    assert figures(score(model, pool, 4)).tobytes() == figures(score(model, pool, 4)).tobytes()


@pytest.mark.parametrize("vocabulary_size", [2, 65, 97, 1000])
def test_a_uniform_predictor_scores_exactly_log_v(vocabulary_size: int) -> None:
    model = Transformer(ModelConfig(n_layer=1, n_head=1, n_embd=8, tied_head=False), vocabulary_size, vocabulary_size + 16)
    torch.nn.init.zeros_(model.output.weight)  # type: ignore[union-attr]
    generator = np.random.default_rng(0)
    targets = generator.integers(0, vocabulary_size, (40, 7))
    selected = np.arange(7) < 1 + np.arange(40)[:, None] % 7
    scores = score_sequences(model, np.where(selected, vocabulary_size, targets), targets, selected, np.ones(40, np.float32), 8, CPU)
    estimate = nelbo(scores)
    assert estimate.nats == pytest.approx(math.log(vocabulary_size), rel=1e-15)
    assert estimate.bits == pytest.approx(math.log2(vocabulary_size), rel=1e-15)
    assert estimate.stderr < 1e-15
    np.testing.assert_allclose(scores.true_probability_sum, scores.count / vocabulary_size, rtol=1e-14)


def test_the_network_is_asked_for_positions_in_round_numbers(pool: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of ever new shapes fill the memory with what is kept of each."""
    model, asked = network(), []
    hidden = model.hidden

    def spy(tokens: Any, noise_level: Any, positions: Any) -> Any:
        asked.append(len(positions))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    for batch_size in (1, 4, 13):
        score(model, pool, batch_size)
    assert set(asked) == {ROUND_TO}


def test_dropout_is_off_and_the_training_mode_comes_back(pool: tuple[np.ndarray, ...]) -> None:
    wet, dry = network(dropout=0.5), network()
    np.testing.assert_array_equal(figures(score(wet, pool, 4)), figures(score(dry, pool, 4)))
    assert wet.training
    wet.eval()
    score(wet, pool, 4)
    assert not wet.training


def test_the_training_mode_comes_back_after_an_error(pool: tuple[np.ndarray, ...]) -> None:
    model = network()
    with pytest.raises(IndexError):
        score(model, (np.full_like(pool[0], E), *pool[1:]), 4)
    assert model.training


def test_sequences_with_nothing_selected_score_zeros(pool: tuple[np.ndarray, ...]) -> None:
    assert figures(score(network(), pool, 1))[:, 3].tolist() == [0, 0, 0, 0]
    inputs, targets, _, level = pool
    assert not figures(score(network(), (inputs, targets, np.zeros((N, T), bool), level), 4)).any()
