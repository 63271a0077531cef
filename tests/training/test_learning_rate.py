"""The learning-rate schedule against nanoGPT's closed form, and its course over a budget."""

from __future__ import annotations

import math

import pytest

from masklab.training.optimizer import learning_rate
from masklab.training.settings import TrainingSettings


def test_warm_up_rises_linearly_to_the_highest_rate() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_iters=9)
    rates = [learning_rate(settings, i, 0.0) for i in range(10)]
    assert rates == pytest.approx([(i + 1) / 10 for i in range(9)] + [1.0])


def test_with_lr_decay_iters_it_is_nanogpts_cosine() -> None:
    settings = TrainingSettings(learning_rate=1.0, min_lr=0.1, warmup_iters=10, lr_decay_iters=110)
    for i in range(10, 110):
        expected = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (i - 10) / 100))
        assert learning_rate(settings, i, 0.7) == pytest.approx(expected)
    assert learning_rate(settings, 500, 0.7) == 0.1


def test_without_it_the_cosine_follows_the_budget_and_ends_at_a_tenth() -> None:
    settings = TrainingSettings(learning_rate=1.0, warmup_iters=0, max_minutes=3)
    assert learning_rate(settings, 5, 0.0) == 1.0
    assert learning_rate(settings, 5, 0.5) == pytest.approx(0.55)
    assert learning_rate(settings, 5, 1.0) == pytest.approx(0.1)
