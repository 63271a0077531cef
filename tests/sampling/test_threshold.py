"""All that is certain enough at once, against one text at a time and laws that can be enumerated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from enumerated_denoiser import EnumeratedDenoiser
from one_row import Candidate, Choose, written_by
from pydantic import ValidationError
from ragged import Flat, ragged_canvas, run_ragged
from reverse import JOINT, LETTERS, T, V, joint_counts, network, run_sampler, settings_of
from scipy import stats

MASK, SAMPLES = LETTERS.mask_id, 6000


def above(threshold: float) -> Choose:
    """The candidates whose largest probability is high enough, or else the first of those that have the highest."""

    def choose(_: int, candidates: list[Candidate]) -> list[Candidate]:
        sure = [c for c in candidates if max(c.probabilities) >= threshold]
        return sure or [max(candidates, key=lambda c: round(math.log(max(c.probabilities)), 4))]

    return choose


@pytest.mark.parametrize(("threshold", "temperature"), [(0.0, 1.0), (0.25, 1.0), (0.3, 0.7), (0.35, 0.0), (1.0, 1.0)])
def test_each_text_is_written_as_one_at_a_time_would_be(threshold: float, temperature: float) -> None:
    model, most = network().double(), 11
    got = run_ragged(model, most, MASK, strategy="threshold", threshold=threshold, temperature=temperature, seed=3)
    for row, start in enumerate(ragged_canvas(most, MASK, seed=3).tokens.tolist()):
        text, placed_at = written_by(model, start, MASK, 3, row, above(threshold), temperature)
        assert got.tokens[row].tolist() == text
        assert got.placed_at[row].tolist() == placed_at
        assert got.evaluations[row] == max(placed_at)


def test_texts_take_as_many_steps_as_they_need_and_a_finished_one_takes_no_more() -> None:
    got = run_sampler(network(), np.full(16, MASK), MASK, settings_of(strategy="threshold", threshold=0.36, num_samples=20))
    assert len(set(got.evaluations.tolist())) > 1
    assert np.array_equal(got.evaluations, got.placed_at.max(axis=1))
    assert len(got.written) == got.evaluations.max()


def test_zero_writes_all_in_one_pass_by_the_product_of_the_marginals() -> None:
    table = JOINT.reshape((V,) * T)
    marginals = [table.sum(axis=tuple(a for a in range(T) if a != t)) for t in range(T)]
    product = np.array([np.prod([m[c] for m, c in zip(marginals, text, strict=True)]) for text in itertools.product(range(V), repeat=T)])
    counts = joint_counts(SAMPLES, strategy="threshold", threshold=0)
    assert stats.chisquare(counts, product * SAMPLES).pvalue > 0.01
    got = run_sampler(network(), np.full(16, MASK), MASK, settings_of(strategy="threshold", threshold=0, num_samples=2))
    assert got.evaluations.tolist() == [1, 1]


def test_one_writes_one_at_a_time_and_reproduces_the_joint() -> None:
    got = run_sampler(network(), np.full(16, MASK), MASK, settings_of(strategy="threshold", threshold=1, num_samples=2))
    assert got.written.tolist() == [[1, 1]] * 16
    counts = joint_counts(SAMPLES, strategy="threshold", threshold=1)
    assert stats.chisquare(counts, JOINT * SAMPLES).pvalue > 0.01


def test_one_still_writes_all_that_is_beyond_doubt() -> None:
    joint = np.zeros(V**T)
    joint[7] = 1.0
    got = run_sampler(EnumeratedDenoiser(joint, V, T), np.full(T, V), V, settings_of(strategy="threshold", threshold=1))
    assert got.tokens.tolist() == [[0, 0, 2, 1]]
    assert got.evaluations.tolist() == [1]


def test_an_unlikely_draw_is_not_held_back() -> None:
    keys = {"strategy": "threshold", "threshold": 0.5, "num_samples": 2000, "batch_size": 2000}
    got = run_sampler(Flat(2), np.full(3, 2), 2, settings_of(**keys))
    assert (got.evaluations == 1).all()
    skewed = EnumeratedDenoiser(np.array([0.8, 0.2]), 2, 1)
    drawn = run_sampler(skewed, np.full(1, 2), 2, settings_of(**keys)).tokens
    assert stats.binomtest(int(drawn.sum()), 2000, 0.2).pvalue > 0.01


def test_equally_certain_positions_are_written_in_the_order_of_the_text() -> None:
    got = run_sampler(Flat(3), np.full(5, 3), 3, settings_of(strategy="threshold"))
    assert got.placed_at.tolist() == [[1, 2, 3, 4, 5]]


def test_the_threshold_changes_the_order() -> None:
    model = network()
    settings = [settings_of(strategy="threshold", threshold=p, num_samples=8) for p in (0.3, 0.8)]
    low, high = (run_sampler(model, np.full(16, MASK), MASK, each).evaluations for each in settings)
    assert low.sum() < high.sum()


@pytest.mark.parametrize("keys", [{"threshold": -0.1}, {"threshold": 1.1}, {"steps": 4}])
def test_settings_out_of_range_are_refused(keys: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        settings_of(strategy="threshold", **keys)
