"""The figures of a detector against scikit-learn, and against loops over their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from masklab.modes.metrics import BINS, auroc, balanced_accuracy, calibration_error, constant_loss, log_loss

metrics = pytest.importorskip("sklearn.metrics")


@pytest.fixture(params=["continuous", "tied", "certain"])
def story(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Log odds and truth of 400 positions."""
    generator = np.random.default_rng(3)
    positive = generator.random(400) < 0.15
    odds = generator.normal(size=400) * 2 + 1.5 * positive - 1
    return {"continuous": odds, "tied": np.round(odds), "certain": odds * 200}[request.param], positive


def test_figures_are_those_of_scikit_learn(story: tuple[np.ndarray, np.ndarray]) -> None:
    odds, positive = story
    assert auroc(odds, positive) == pytest.approx(metrics.roc_auc_score(positive, odds), rel=1e-12)
    assert balanced_accuracy(odds > -1, positive) == pytest.approx(metrics.balanced_accuracy_score(positive, odds > -1), rel=1e-12)
    share = np.full(400, positive.mean())
    assert constant_loss(positive) == pytest.approx(metrics.log_loss(positive, share), rel=1e-9)
    if np.abs(odds).max() < 30:  # beyond that scikit-learn clips
        assert log_loss(odds, positive) == pytest.approx(metrics.log_loss(positive, 1 / (1 + np.exp(-odds))), rel=1e-9)
    assert np.isfinite(log_loss(odds, positive))


def test_auroc_is_the_share_of_pairs_in_the_right_order(story: tuple[np.ndarray, np.ndarray]) -> None:
    odds, positive = story
    pairs = [(a > b) + 0.5 * (a == b) for a in odds[positive] for b in odds[~positive]]
    assert auroc(odds, positive) == pytest.approx(np.mean(pairs), rel=1e-12)


def test_calibration_error_is_that_of_a_loop_over_bins() -> None:
    generator = np.random.default_rng(4)
    probability = np.append(generator.random(500) ** 3, [0.0, 1.0])
    positive = generator.random(502) < probability**0.5
    expected = 0.0
    for b in range(BINS):
        inside = [i for i, p in enumerate(probability) if b / BINS <= p < (b + 1) / BINS or (p == 1 and b == BINS - 1)]
        if inside:
            gap = sum(probability[i] for i in inside) / len(inside) - sum(bool(positive[i]) for i in inside) / len(inside)
            expected += len(inside) / 502 * abs(gap)
    assert calibration_error(probability, positive) == pytest.approx(expected, rel=1e-9)
    assert expected > 0.1


def test_probabilities_that_are_right_have_no_calibration_error() -> None:
    probability = np.repeat([0.1, 0.5, 0.9], 1000)
    positive = np.concatenate([np.arange(1000) < 1000 * p for p in (0.1, 0.5, 0.9)])
    assert calibration_error(probability, positive) == pytest.approx(0, abs=1e-12)


def test_a_constant_has_half_of_the_balanced_accuracy_and_one_class_makes_no_order() -> None:
    positive = np.arange(10) < 3
    assert balanced_accuracy(np.zeros(10, bool), positive) == balanced_accuracy(np.ones(10, bool), positive) == 0.5
    assert auroc(np.zeros(10), positive) == 0.5
    assert auroc(np.arange(10.0), np.zeros(10, bool)) == auroc(np.arange(10.0), np.ones(10, bool)) == 0.5
    assert constant_loss(np.zeros(4, bool)) == 0
