"""The yardstick against a process that can be enumerated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from enumerated_denoiser import EnumeratedDenoiser, random_joint

from masklab.corruption.exact_count import ExactCount
from masklab.likelihood.estimate import Estimate
from masklab.likelihood.nelbo import nelbo
from masklab.modes.character_scores import SequenceScores, score_sequences
from masklab.rng import RowStreams, root_key

V, T = 3, 4
TRUTH, BELIEF = random_joint(V, T, seed=1), random_joint(V, T, seed=2)


def estimate(model: torch.nn.Module, sequences: int, seed: int) -> Estimate:
    """The NELBO of `model` from texts drawn from TRUTH and stratified exact-count masks."""
    all_JT = np.array(list(itertools.product(range(V), repeat=T)))
    texts = all_JT[np.random.default_rng(seed).choice(len(all_JT), sequences, p=TRUTH)]
    draw = ExactCount().draw(RowStreams.of(root_key(seed, 7), np.arange(sequences), sequences), T)
    inputs = np.where(draw.selected, V, texts)
    return nelbo(score_sequences(model, inputs, texts, draw.selected, draw.probability, 256, torch.device("cpu")))  # type: ignore[arg-type]


def expected_nelbo(belief_J: np.ndarray) -> float:
    """The mean over texts, k and k-subsets of the mean cross-entropy, spelt out with dictionaries."""
    texts = list(itertools.product(range(V), repeat=T))
    belief = dict(zip(texts, belief_J, strict=True))
    total = 0.0
    for text, p in zip(texts, TRUTH, strict=True):
        for k in range(1, T + 1):
            subsets = list(itertools.combinations(range(T), k))
            for masked in subsets:
                fitting = [t for t in texts if all(t[i] == text[i] for i in range(T) if i not in masked)]
                whole = sum(belief[t] for t in fitting)
                losses = [-math.log(sum(belief[t] for t in fitting if t[i] == text[i]) / whole) for i in masked]
                total += p / T / len(subsets) * sum(losses) / k
    return total


@pytest.mark.parametrize("belief", [TRUTH, BELIEF], ids=["exact", "mistaken"])
def test_matches_the_enumerated_bound_within_its_standard_error(belief: np.ndarray) -> None:
    expected = expected_nelbo(belief)
    # a consistent denoiser makes the any-order bound tight: it is the cross-entropy of the belief, per character
    assert expected == pytest.approx(-(TRUTH * np.log(belief)).sum() / T, rel=1e-12)
    got = estimate(EnumeratedDenoiser(belief, V, T), 4000, seed=3)
    assert abs(got.nats - expected) < 4 * got.stderr
    assert got.stderr < 0.02


def test_the_standard_error_is_the_spread_over_repetitions() -> None:
    model = EnumeratedDenoiser(BELIEF, V, T)
    estimates = [estimate(model, 128, seed) for seed in range(120)]
    spread = np.std([e.nats for e in estimates], ddof=1)
    assert np.mean([e.stderr for e in estimates]) == pytest.approx(spread, rel=0.25)


def test_refuses_sequences_without_masks_and_single_sequences() -> None:
    ones = np.ones(3)
    with pytest.raises(ValueError, match="sequence 1 has no masked position"):
        nelbo(SequenceScores(ones, np.array([1.0, 0.0, 2.0]), ones, ones))
    with pytest.raises(ValueError, match="at least 2 sequences, not 1"):
        nelbo(SequenceScores(ones[:1], ones[:1], ones[:1], ones[:1]))
