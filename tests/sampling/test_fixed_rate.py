"""Random order at a fixed rate, against its formula, one text at a time, and a law that can be enumerated."""

from __future__ import annotations

import numpy as np
import pytest
from one_row import Candidate, Choose, written_by
from pydantic import ValidationError
from ragged import Flat, ragged_canvas, run_ragged
from reverse import JOINT, LETTERS, T, joint_counts, network, run_sampler, settings_of
from scipy import stats

MASK, SAMPLES = LETTERS.mask_id, 6000


def by_rate(steps: int) -> Choose:
    """At step t = steps - 1, ..., 0 the max(1, int(masked / (t + 1))) candidates with the lowest random numbers."""

    def choose(step: int, candidates: list[Candidate]) -> list[Candidate]:
        t = steps - step
        return sorted(candidates, key=lambda c: c.u)[: max(1, int(len(candidates) / (t + 1)))]

    return choose


@pytest.mark.parametrize(("steps", "temperature"), [(1, 1.0), (4, 0.7), (100, 0.0)])
def test_each_text_is_written_as_one_at_a_time_would_be(steps: int, temperature: float) -> None:
    model, most = network().double(), 11
    got = run_ragged(model, most, MASK, strategy="fixed_rate", steps=steps, temperature=temperature, seed=2)
    for row, start in enumerate(ragged_canvas(most, MASK, seed=2).tokens.tolist()):
        text, placed_at = written_by(model, start, MASK, 2, row, by_rate(steps), temperature)
        assert got.tokens[row].tolist() == text
        assert got.placed_at[row].tolist() == placed_at


@pytest.mark.parametrize("steps", range(1, 51))
def test_the_formula_decides_how_many_are_written(steps: int) -> None:
    got = run_ragged(Flat(3), 40, 3, strategy="fixed_rate", steps=steps)
    assert len(got.written) == min(steps, 40)
    for total in range(41):
        masked = total
        for t, written in zip(range(steps - 1, -1, -1), got.written[:, total], strict=False):
            assert written == (max(1, int(masked / (t + 1))) if masked else 0)
            masked -= written
        assert masked == 0
        assert got.evaluations[total] == min(steps, total)


def test_a_hundred_steps_are_the_default_and_the_last_ones_write_more() -> None:
    got = run_sampler(Flat(3), np.full(256, 3), 3, settings_of(strategy="fixed_rate", num_samples=2))
    assert got.written.tolist() == [[2, 2]] * 44 + [[3, 3]] * 56
    assert got.evaluations.tolist() == [100, 100]


def test_one_at_a_time_reproduces_the_joint() -> None:
    assert stats.chisquare(joint_counts(SAMPLES, strategy="fixed_rate", steps=T), JOINT * SAMPLES).pvalue > 0.01


def test_every_order_is_as_likely_as_any_other() -> None:
    keys = {"strategy": "fixed_rate", "steps": 4, "num_samples": 4800, "batch_size": 4800}
    placed_at = run_sampler(Flat(2), np.full(4, 2), 2, settings_of(**keys)).placed_at
    assert stats.chisquare(np.unique(placed_at, axis=0, return_counts=True)[1]).pvalue > 0.01
    assert len(np.unique(placed_at, axis=0)) == 24


def test_steps_change_the_order() -> None:
    model = network()
    few, many = (run_sampler(model, np.full(16, MASK), MASK, settings_of(strategy="fixed_rate", steps=n)).placed_at for n in (4, 5))
    assert not np.array_equal(few, many)


@pytest.mark.parametrize("keys", [{"steps": 0}, {"schedule": "cosine"}])
def test_settings_out_of_range_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(keys))):
        settings_of(strategy="fixed_rate", **keys)
