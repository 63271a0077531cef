"""The share of the budget that is spent, in each unit."""

from __future__ import annotations

import pytest

from masklab.training.budget import Budget
from masklab.training.ranks import Ranks
from masklab.training.settings import TrainingSettings


def budget(**keys: float) -> Budget:
    return Budget(TrainingSettings.model_validate(keys), Ranks())


def test_iterations_and_characters_are_counted_exactly() -> None:
    assert budget(max_iters=200).used(50) == 0.25
    assert budget(max_chars=4096, batch_size=4, block_size=64).used(8) == 0.5
    assert budget(max_chars=4097, batch_size=4, block_size=64).used(16) < 1


def test_the_first_budget_that_is_spent_ends_the_run() -> None:
    assert budget(max_iters=100, max_chars=2560, batch_size=2, block_size=128).used(10) == 1.0


def test_masked_characters_are_counted_step_by_step_where_they_are_the_budget() -> None:
    b = budget(max_masked_chars=100)
    shares = []
    for masked in (30, 0, 50, 19, 1, 40):
        b.count(masked)
        shares.append(b.used(1))
    assert shares == [0.3, 0.3, 0.8, 0.99, 1.0, 1.0]
    unasked = budget(max_iters=10)
    unasked.count(30)
    assert unasked.masked == 0


def test_masked_characters_of_earlier_parts_of_a_run_count() -> None:
    b = Budget(TrainingSettings(max_masked_chars=100), Ranks(), masked=60)
    b.count(15)
    assert b.used(3) == 0.75 and not b.is_spent(3)


def test_no_budget_at_all_means_600_iterations() -> None:
    assert TrainingSettings().max_iters == 600
    assert TrainingSettings(max_minutes=1).max_iters is None
    assert TrainingSettings(max_masked_chars=1).max_iters is None


def test_minutes_are_agreed_upon_and_extrapolated_at_the_last_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("masklab.training.budget.time.monotonic", lambda: now[0])
    b = Budget(TrainingSettings(max_minutes=1), Ranks(), started=100.0)
    assert b.used(0) == 0
    now[0] = 106.0
    b.agree(10)
    assert b.used(10) == pytest.approx(0.1)
    now[0] = 112.0
    b.agree(20)
    assert b.used(25) == pytest.approx((12 + 5 * 0.6) / 60)
    now[0] = 142.0  # an evaluation: time passes without a step, and the pace stays
    b.agree(20)
    assert b.used(30) == pytest.approx((42 + 10 * 0.6) / 60)
    assert b.used(10_000) == 1.0


def test_earlier_parts_of_a_run_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklab.training.budget.time.monotonic", lambda: 0.0)
    b = Budget(TrainingSettings(max_minutes=1), Ranks(), elapsed_before=30.0, started=0.0)
    b.agree(5)
    assert b.used(5) == 0.5


def test_the_first_budget_that_is_spent_tells_how_many_steps_there_are() -> None:
    sizes = {"batch_size": 2, "block_size": 128}
    assert TrainingSettings.model_validate({"max_iters": 100, "max_chars": 2561} | sizes).iterations == 11
    assert TrainingSettings.model_validate({"max_iters": 7, "max_chars": 2561} | sizes).iterations == 7
    assert TrainingSettings.model_validate({"max_minutes": 1} | sizes).iterations is None
