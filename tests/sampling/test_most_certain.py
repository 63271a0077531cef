"""The most certain characters first, against one text at a time and against laws that can be enumerated."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from enumerated_denoiser import EnumeratedDenoiser
from one_row import Candidate, Choose, network_probabilities, written_by
from pydantic import ValidationError
from ragged import Flat, ragged_canvas, run_ragged
from reverse import JOINT, LETTERS, T, V, joint_counts, network, run_sampler, settings_of
from scipy import stats

from masklab.corruption.noise_schedule import SCHEDULES
from masklab.sampling.most_certain import gumbel

MASK, SAMPLES = LETTERS.mask_id, 6000
every_strategy = pytest.mark.parametrize("strategy", ["confidence", "margin", "entropy"])


def log_certainty(strategy: str, candidate: Candidate) -> float:
    """Each measure by its definition, to four decimals."""
    p = candidate.probabilities
    if strategy == "confidence":
        return round(math.log(p[candidate.drawn]), 4)
    if strategy == "margin":
        return math.log(max(round(sorted(p)[-1] - sorted(p)[-2], 4), 1e-4))
    return round(sum(q * math.log(q) for q in p), 4)


def most_certain(strategy: str, steps: int, schedule: str, strength: float, total: int) -> Choose:
    """What a step writes of a text that had `total` masked positions at first."""

    def choose(step: int, candidates: list[Candidate]) -> list[Candidate]:
        count = len(candidates) - left(step, steps, schedule, total, len(candidates))
        scale = strength * (steps - step) / steps
        noisy = {c.position: log_certainty(strategy, c) - scale * math.log(-math.log(c.u)) for c in candidates}
        return sorted(candidates, key=lambda c: -noisy[c.position])[:count]

    return choose


def left(step: int, steps: int, schedule: str, total: int, masked: int) -> int:
    """How many of `masked` positions step number `step` leaves."""
    if step == steps:
        return 0
    t = 1 - step / steps
    ends = SCHEDULES[schedule]().value(np.array([0.0, t, 1.0]))
    share = t if schedule in ("linear", "loglinear") else float((ends[1] - ends[0]) / (ends[2] - ends[0]))
    return min(math.floor(total * share + 1e-6), masked - 1)


@every_strategy
@pytest.mark.parametrize(
    ("steps", "schedule", "strength", "temperature"),
    [(4, "linear", 0.0, 1.0), (7, "cosine", 2.5, 0.6), (30, "linear", 0.4, 0.0), (3, "polynomial", 1.0, 1.4)],
)
def test_each_text_is_written_as_one_at_a_time_would_be(
    strategy: str, steps: int, schedule: str, strength: float, temperature: float
) -> None:
    model, most = network().double(), 11
    keys = {"steps": steps, "schedule": schedule, "randomness_strength": strength, "temperature": temperature, "seed": 6}
    got = run_ragged(model, most, MASK, strategy=strategy, **keys)
    for row, start in enumerate(ragged_canvas(most, MASK, seed=6).tokens.tolist()):
        choose = most_certain(strategy, steps, schedule, strength, total=row)
        text, placed_at = written_by(model, start, MASK, 6, row, choose, temperature)
        assert got.tokens[row].tolist() == text
        assert got.placed_at[row].tolist() == placed_at


@every_strategy
def test_an_exact_denoiser_is_followed_in_the_same_order(strategy: str) -> None:
    model = EnumeratedDenoiser(JOINT, V, T)
    got = run_sampler(model, np.full(T, V), V, settings_of(strategy=strategy, steps=3, randomness_strength=1.0, num_samples=8))
    for row in range(8):
        choose = most_certain(strategy, 3, "linear", 1.0, total=T)
        assert (got.tokens[row].tolist(), got.placed_at[row].tolist()) == written_by(model, [V] * T, V, 0, row, choose, 1.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 16, 40, 50])
def test_the_schedule_decides_how_many_are_written(schedule: str, steps: int) -> None:
    got = run_ragged(Flat(3), 40, 3, strategy="entropy", steps=steps, schedule=schedule)
    for total in range(41):
        expected, masked = [], total
        for step in range(1, len(got.written) + 1):
            after = left(step, steps, schedule, total, masked) if masked else 0
            expected.append(masked - after)
            masked = after
        assert got.written[:, total].tolist() == expected
        assert got.evaluations[total] == sum(count > 0 for count in expected) <= min(steps, total)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 10, 49, 98, 107, 128, 200])
def test_as_many_steps_as_characters_write_one_at_a_time(total: int) -> None:
    got = run_sampler(Flat(3), np.full(total, 3), 3, settings_of(strategy="margin", steps=total))
    assert got.written.tolist() == [[1]] * total


@pytest.mark.parametrize("strategy", ["margin", "entropy"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_order_that_does_not_look_at_what_is_drawn_reproduces_the_joint(strategy: str, strength: float) -> None:
    counts = joint_counts(SAMPLES, strategy=strategy, steps=T, randomness_strength=strength)
    assert stats.chisquare(counts, JOINT * SAMPLES).pvalue > 0.01


def test_an_order_by_the_drawn_characters_prefers_likely_texts_as_its_own_law_says() -> None:
    law = law_of_confidence_order()
    counts = joint_counts(SAMPLES, strategy="confidence", steps=T)
    rare = law * SAMPLES < 5
    pooled = [np.append(cells[~rare], cells[rare].sum()) for cells in (counts, law * SAMPLES)]
    assert stats.chisquare(*pooled).pvalue > 0.01
    assert stats.chisquare(counts, JOINT * SAMPLES).pvalue < 1e-6
    assert law @ np.log(JOINT) > JOINT @ np.log(JOINT)


def law_of_confidence_order() -> np.ndarray:
    """The probability (V ** T,) of each text, by all that could be drawn in all steps."""
    model = EnumeratedDenoiser(JOINT, V, T)

    @cache
    def law(text: tuple[int, ...]) -> Counter[tuple[int, ...]]:
        masked = [i for i, c in enumerate(text) if c == V]
        if not masked:
            return Counter({text: 1.0})  # type: ignore[dict-item]
        p, total = network_probabilities(model, list(text), V), Counter[tuple[int, ...]]()
        for drawn in itertools.product(range(V), repeat=len(masked)):
            confidence = [p[i][c] for i, c in zip(masked, drawn, strict=True)]
            best = confidence.index(max(confidence))
            after = (*text[: masked[best]], drawn[best], *text[masked[best] + 1 :])
            for end, q in law(after).items():
                total[end] += math.prod(confidence) * q  # type: ignore[assignment]
        return total

    end = law((V,) * T)
    return np.array([end[text] for text in itertools.product(range(V), repeat=T)])


@every_strategy
def test_equal_certainty_is_resolved_in_the_order_of_the_text(strategy: str) -> None:
    got = run_sampler(Flat(5), np.full(9, 5), 5, settings_of(strategy=strategy, steps=3, num_samples=2))
    assert got.placed_at.tolist() == [[1, 1, 1, 2, 2, 2, 3, 3, 3]] * 2


@every_strategy
def test_rounding_errors_in_the_network_do_not_choose_the_order(strategy: str) -> None:
    settings = settings_of(strategy=strategy, steps=16, temperature=0)
    single, double = (run_sampler(model, np.full(64, MASK), MASK, settings) for model in (network(), network().double()))
    assert np.array_equal(single.placed_at, double.placed_at)
    assert single.placed_at[0, :4].tolist() == [1] * 4, "in a wholly masked text no position differs from any other"


@every_strategy
def test_strong_noise_makes_the_order_random(strategy: str) -> None:
    keys = {"strategy": strategy, "steps": 6, "randomness_strength": 1e6, "num_samples": 3000, "batch_size": 3000}
    first = run_sampler(Flat(3), np.full(6, 3), 3, settings_of(**keys)).placed_at == 1
    assert stats.chisquare(first.sum(axis=0)).pvalue > 0.01


@every_strategy
def test_certainty_is_of_the_distribution_before_temperature_and_truncation(strategy: str) -> None:
    model, start = network().double(), np.full(12, MASK)
    plain, sharp = (run_sampler(model, start, MASK, settings_of(strategy=strategy, steps=1, **keys)) for keys in ({}, {"top_k": 2}))
    p = np.array(network_probabilities(model, [MASK] * 12, MASK))
    for got in (plain, sharp):
        np.testing.assert_allclose(got.confidence[0], p[np.arange(12), got.tokens[0]])


@every_strategy
def test_a_certain_network_gives_finite_certainties(strategy: str) -> None:
    joint = np.zeros(V**T)
    joint[7] = 1.0
    got = run_sampler(EnumeratedDenoiser(joint, V, T), np.full(T, V), V, settings_of(strategy=strategy, steps=2, randomness_strength=1.0))
    assert got.tokens.tolist() == [[0, 0, 2, 1]]
    assert (got.confidence == 1).all()


@every_strategy
def test_a_vocabulary_of_one_character_will_do(strategy: str) -> None:
    assert run_sampler(Flat(1), np.full(5, 1), 1, settings_of(strategy=strategy, steps=2)).tokens.tolist() == [[0] * 5]


@every_strategy
@pytest.mark.parametrize("change", [{"steps": 3}, {"schedule": "cosine"}, {"randomness_strength": 1.0}], ids=lambda c: next(iter(c)))
def test_every_key_changes_the_order(strategy: str, change: dict[str, object]) -> None:
    model, keys = network(), {"strategy": strategy, "steps": 6, "num_samples": 2}
    before, after = (run_sampler(model, np.full(16, MASK), MASK, settings_of(**k)).placed_at for k in (keys, keys | change))
    assert not np.array_equal(before, after)


def test_the_three_measures_give_three_orders() -> None:
    model = network()
    orders = {
        tuple(run_sampler(model, np.full(16, MASK), MASK, settings_of(strategy=strategy, steps=8)).placed_at[0])
        for strategy in ("confidence", "margin", "entropy")
    }
    assert len(orders) == 3


def test_gumbel_noise_is_finite_at_both_ends_and_has_its_distribution() -> None:
    assert np.isfinite(gumbel(np.array([0.0, 1 - 2**-53]))).all()
    assert stats.kstest(gumbel((np.arange(1000) + 0.5) / 1000), "gumbel_r").pvalue > 0.99


def test_a_time_conditioned_network_is_told_the_share_still_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(time_conditioning=True)
    told, hidden = [], model.hidden

    def spy(tokens: torch.Tensor, noise_level: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        told.append(float(noise_level[0]))
        return hidden(tokens, noise_level, positions)

    monkeypatch.setattr(model, "hidden", spy)
    start = np.full(16, MASK)
    start[:8] = 0
    run_sampler(model, start, MASK, settings_of(strategy="entropy", steps=4))
    assert told == [0.5, 0.375, 0.25, 0.125]


@pytest.mark.parametrize("keys", [{"steps": 0}, {"randomness_strength": -1}, {"schedule": "cosin"}, {"threshold": 0.5}])
def test_settings_out_of_range_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        settings_of(strategy="confidence", **keys)
