"""Estimates, their errors, and the difference of two models on the same draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from masklab.likelihood.estimate import Estimate, SequenceValues, difference, standard_error


def test_bits_and_perplexity() -> None:
    estimate = Estimate(3 * math.log(2), 0.1)
    assert estimate.bits == pytest.approx(3)
    assert estimate.perplexity == pytest.approx(8)


def test_the_standard_error_does_not_count_differences_between_strata() -> None:
    generator = np.random.default_rng(0)
    k = generator.permutation(np.repeat(np.arange(1, 65), 8)).astype(float)
    noise = generator.normal(0, 0.1, len(k))
    assert standard_error(3 * k / 64 + noise, k) == pytest.approx(0.1 / math.sqrt(len(k)), rel=0.1)


def test_the_standard_error_of_two_values_is_half_their_difference() -> None:
    assert standard_error(np.array([5.0, 2.0]), np.array([1.0, 2.0])) == pytest.approx(1.5)
    assert standard_error(np.array([5.0, 2.0])) == pytest.approx(1.5)


def test_without_strata_the_standard_error_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(1, 2, 50)
    s = math.sqrt(sum((v - values.mean()) ** 2 for v in values) / 49)
    assert SequenceValues(values).estimate == Estimate(pytest.approx(values.mean()), pytest.approx(s / math.sqrt(50)))  # type: ignore[arg-type]


def test_one_sequence_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="at least 2 sequences, not 1"):
        standard_error(np.ones(1))


def test_a_paired_difference_is_surer_than_two_estimates_apart() -> None:
    generator = np.random.default_rng(1)
    hard, k = generator.normal(2, 1, 400), generator.permutation(400).astype(float)
    a = SequenceValues(hard + generator.normal(0, 0.1, 400), k)
    b = SequenceValues(hard + 0.05 + generator.normal(0, 0.1, 400), k)
    paired = difference(a, b)
    assert paired.nats == pytest.approx(a.estimate.nats - b.estimate.nats)
    assert paired.stderr == pytest.approx(0.1 * math.sqrt(2 / 400), rel=0.15)
    assert paired.stderr < math.hypot(a.estimate.stderr, b.estimate.stderr) / 5


def test_an_exact_figure_pairs_with_one_of_random_masks_in_the_strata_of_these() -> None:
    k = np.random.default_rng(2).permutation(64).astype(float)
    exact, masked = SequenceValues(np.zeros(64)), SequenceValues(k, k)
    assert difference(masked, exact) == masked.estimate
    assert difference(exact, masked).stderr == masked.estimate.stderr


def test_refuses_what_cannot_be_paired() -> None:
    a = SequenceValues(np.zeros(3), np.arange(3.0))
    with pytest.raises(ValueError, match="3 sequences cannot be paired with 2"):
        difference(a, SequenceValues(np.zeros(2)))
    with pytest.raises(ValueError, match="scored on different masks"):
        difference(a, SequenceValues(np.zeros(3), np.arange(3.0)[::-1]))
