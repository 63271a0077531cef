"""The curve of cross-entropy and accuracy against the mask ratio."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from enumerated_denoiser import random_joint
from enumeration import TEXTS, Enumeration, T, V, drawn_texts, inconsistent_network, windows_of

from masklab.likelihood.mask_ratio_curve import even_levels, mask_ratio_curve

TRUTH = random_joint(V, T, seed=1)
NETWORK = inconsistent_network()


def test_each_level_is_the_enumerated_one_within_its_standard_error() -> None:
    reference = Enumeration(NETWORK)
    curve = mask_ratio_curve(NETWORK, windows_of(drawn_texts(TRUTH, 1500, seed=2)), even_levels(T), 3, 500)
    assert curve.mask_ratio.tolist() == [0.25, 0.5, 0.75, 1.0]
    for level, k in enumerate(range(1, T + 1)):
        expected = sum(p * reference.at_count(text, k) for text, p in zip(TEXTS, TRUTH, strict=True))
        assert abs(curve.cross_entropy[level] - expected) < 4 * curve.cross_entropy_stderr[level]
    accuracy = sum(p * reference.hits(text, frozenset(range(T))) for text, p in zip(TEXTS, TRUTH, strict=True))
    assert abs(curve.accuracy[-1] - accuracy) < 4 * curve.accuracy_stderr[-1]
    assert 0 < curve.accuracy_stderr[0] < 0.02


def test_counts_are_rounded_and_at_least_one_and_no_level_comes_twice() -> None:
    windows = windows_of(drawn_texts(TRUTH, 4, seed=2))
    curve = mask_ratio_curve(NETWORK, windows, np.array([0.9, 0.0, 0.01, 0.6, 0.1]), 3, 4)
    assert curve.mask_ratio.tolist() == [0.25, 0.5, 1.0]
    assert mask_ratio_curve(NETWORK, windows, even_levels(64), 3, 4).mask_ratio.tolist() == [0.25, 0.5, 0.75, 1.0]


def test_masks_are_nested_and_of_an_exact_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    hidden = NETWORK.hidden

    def spy(tokens: Any, noise_level: Any, positions: Any) -> Any:
        seen.append((tokens == V).numpy())
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(NETWORK, "hidden", spy)
    mask_ratio_curve(NETWORK, windows_of(drawn_texts(TRUTH, 50, seed=2)), even_levels(T), 3, 50)
    for k, masked in enumerate(seen, start=1):
        assert (masked.sum(axis=1) == k).all()
    assert all((fewer <= more).all() for fewer, more in itertools.pairwise(seen))
    assert abs(seen[0].mean(axis=0) - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 50)


def test_its_standard_errors_are_the_spread_over_repetitions() -> None:
    curves = [mask_ratio_curve(NETWORK, windows_of(drawn_texts(TRUTH, 100, s)), np.array([0.5]), s, 100) for s in range(150)]
    for mean, stderr in (("cross_entropy", "cross_entropy_stderr"), ("accuracy", "accuracy_stderr")):
        spread = np.std([getattr(c, mean)[0] for c in curves], ddof=1)
        assert np.mean([getattr(c, stderr)[0] for c in curves]) == pytest.approx(spread, rel=0.2)
