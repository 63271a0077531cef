"""The reverse process against a process that can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from reverse import JOINT, LETTERS, T, V, joint_counts, network, run_sampler, settings_of
from scipy import stats

from masklab.sampling.sampler import masked_shares

SAMPLES = 6000


def test_many_steps_reproduce_the_joint_distribution() -> None:
    assert stats.chisquare(joint_counts(SAMPLES, strategy="stochastic", steps=300), JOINT * SAMPLES).pvalue > 0.01


def test_one_character_at_a_time_reproduces_the_joint_distribution() -> None:
    assert stats.chisquare(joint_counts(SAMPLES, strategy="first_hitting"), JOINT * SAMPLES).pvalue > 0.01


def test_one_step_gives_the_product_of_the_marginals() -> None:
    table = JOINT.reshape((V,) * T)
    marginals = [table.sum(axis=tuple(a for a in range(T) if a != t)) for t in range(T)]
    product = np.array([np.prod([m[c] for m, c in zip(marginals, text, strict=True)]) for text in itertools.product(range(V), repeat=T)])
    counts = joint_counts(SAMPLES, strategy="stochastic", steps=1)
    assert stats.chisquare(counts, product * SAMPLES).pvalue > 0.01
    assert stats.chisquare(counts, JOINT * SAMPLES).pvalue < 1e-6


@pytest.mark.parametrize(("schedule", "share"), [("linear", [0.75, 0.5, 0.25, 0.0]), ("cosine", None)])
def test_the_share_still_masked_follows_the_schedule(schedule: str, share: list[float] | None) -> None:
    shares: list[float] = []
    settings = settings_of(strategy="stochastic", steps=4, schedule=schedule, num_samples=64)
    run_sampler(network(), np.full(128, 8), 8, settings, watch=lambda s: shares.append(float((s.tokens == 8).mean())))
    expected = [1.0, *(share or masked_shares(settings.sampler.schedule, 4)[1:].tolist())]  # type: ignore[union-attr]
    np.testing.assert_allclose(shares, expected, atol=0.02)


@pytest.mark.parametrize("strategy", ["stochastic", "first_hitting"])
def test_a_time_conditioned_network_is_told_the_noise_level_of_the_process(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(time_conditioning=True)
    told, hidden = [], model.hidden

    def spy(tokens, noise_level, positions):  # type: ignore[no-untyped-def]
        told.append(float(noise_level[0]))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    keys = {"steps": 4} if strategy == "stochastic" else {}
    run_sampler(model, np.full(64, 8), 8, settings_of(strategy=strategy, **keys))
    if strategy == "stochastic":
        np.testing.assert_allclose(told, [1.0, 0.75, 0.5, 0.25], atol=1e-6)
    else:
        assert told == sorted(told, reverse=True)
        assert stats.kstest(told, "uniform").pvalue > 0.01


def test_first_hitting_writes_one_character_a_step() -> None:
    start = LETTERS.encode("abcabcabcabc").astype(np.int64)
    start[[1, 4, 5, 9]] = 8
    got = run_sampler(network(), start, 8, settings_of(strategy="first_hitting", num_samples=3))
    assert got.written.tolist() == [[1, 1, 1]] * 4
    assert got.evaluations.tolist() == [4] * 3
    assert len({tuple(row) for row in got.placed_at[:, [1, 4, 5, 9]]}) > 1, "the order is random"


def test_a_step_in_which_nothing_is_due_takes_no_evaluation() -> None:
    got = run_sampler(network(), np.full(12, 8), 8, settings_of(strategy="stochastic", steps=2000, num_samples=4))
    assert (got.evaluations == (got.written > 0).sum(axis=0)).all()
    assert got.evaluations.max() <= 12


def test_a_time_conditioned_network_is_told_the_noise_level_of_the_whole_text_where_some_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(time_conditioning=True)
    told, hidden = [], model.hidden

    def spy(tokens, noise_level, positions):  # type: ignore[no-untyped-def]
        told.append(float(noise_level[0]))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    run_sampler(model, np.array([1] * 48 + [8] * 16), 8, settings_of(strategy="stochastic", steps=4))
    np.testing.assert_allclose(told, [0.25, 0.1875, 0.125, 0.0625], atol=1e-6)
