"""The bound over several orders, against every order spelt out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from enumerated_denoiser import EnumeratedDenoiser, random_joint
from enumeration import ORDERS, TEXTS, Enumeration, T, V, drawn_texts, inconsistent_network, windows_of

from masklab.likelihood.importance_weighted import draw_orders, importance_weighted_bound

TRUTH, BELIEF = random_joint(V, T, seed=1), random_joint(V, T, seed=2)
NETWORK = inconsistent_network()
REFERENCE = Enumeration(NETWORK)
ALL = windows_of(np.array(TEXTS))


@pytest.mark.parametrize("batch_size", [1, 7, 2000])
def test_equals_a_literal_computation_over_the_drawn_orders(batch_size: int) -> None:
    bounds = importance_weighted_bound(NETWORK, ALL, 3, 1, batch_size)
    orders = draw_orders(ALL, 3, 1)
    for n, text in enumerate(TEXTS):
        log_p = [REFERENCE.log_probability(text, tuple(order)) for order in orders[n]]
        assert bounds.importance_weighted.values[n] == pytest.approx(-math.log(sum(map(math.exp, log_p)) / 3) / T, rel=1e-10)
        assert bounds.any_order.values[n] == pytest.approx(-sum(log_p) / 3 / T, rel=1e-10)


def test_lies_between_the_truth_and_the_nelbo_and_falls_with_the_number_of_orders() -> None:
    truth = sum(p * REFERENCE.truth(text) for text, p in zip(TEXTS, TRUTH, strict=True))
    nelbo = sum(p * REFERENCE.any_order(text) for text, p in zip(TEXTS, TRUTH, strict=True))
    assert truth < nelbo - 0.05  # or there would be nothing to tell apart
    windows = windows_of(drawn_texts(TRUTH, 400, seed=3))
    one, few, many = (importance_weighted_bound(NETWORK, windows, K, 4, 2000) for K in (1, 4, 16))
    np.testing.assert_allclose(one.importance_weighted.values, one.any_order.values, rtol=1e-12)
    assert abs(many.any_order.estimate.nats - nelbo) < 4 * many.any_order.estimate.stderr
    bounds = [b.importance_weighted.estimate for b in (one, few, many)]
    assert nelbo + 4 * bounds[0].stderr > bounds[0].nats > bounds[1].nats > bounds[2].nats > truth - 4 * bounds[2].stderr
    assert (few.importance_weighted.values <= few.any_order.values + 1e-12).all()


@pytest.mark.parametrize("K", [1, 2])
def test_its_expectation_is_that_over_all_tuples_of_orders(K: int) -> None:
    """Many draws for one text come to the mean over all tuples of K orders."""
    text = TEXTS[17]
    log_p = [REFERENCE.log_probability(text, order) for order in ORDERS]
    tuples = itertools.product(log_p, repeat=K)
    expected = -np.mean([math.log(sum(map(math.exp, chosen)) / K) for chosen in tuples]) / T
    got = importance_weighted_bound(NETWORK, windows_of(np.tile(text, (1500, 1))), K, 5, 6000).importance_weighted.estimate
    assert abs(got.nats - expected) < 4 * got.stderr


def test_any_number_of_orders_gives_the_likelihood_of_a_consistent_denoiser() -> None:
    model: Any = EnumeratedDenoiser(BELIEF, V, T)
    bounds = importance_weighted_bound(model, ALL, 2, 0, 100)
    np.testing.assert_allclose(bounds.importance_weighted.values, -np.log(BELIEF) / T, rtol=1e-10)
    np.testing.assert_allclose(bounds.any_order.values, -np.log(BELIEF) / T, rtol=1e-10)


def test_orders_are_uniform_and_those_of_fewer_are_among_those_of_more() -> None:
    windows = windows_of(np.zeros((6000, 3), np.uint8))
    orders = draw_orders(windows, 2, 3)
    np.testing.assert_array_equal(orders[:, :1], draw_orders(windows, 1, 3))
    for k in range(2):
        _, counts = np.unique(orders[:, k], axis=0, return_counts=True)
        assert len(counts) == 6
        assert (abs(counts - 1000) < 4 * math.sqrt(1000)).all()
    assert np.mean((orders[:, 0] == orders[:, 1]).all(axis=1)) == pytest.approx(1 / 6, abs=0.02)
