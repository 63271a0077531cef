"""The state machine of skipped steps against numpy's medians and by what it must never do."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import InstabilityError
from masklab.training.loss_spikes import LARGEST, OVERFLOWS, Rollback, Skip, SpikeState, StabilitySettings, StepOutcome, update

NAN, INF = float("nan"), float("inf")


def steps(*losses: float, first: int = 0, limit: float = LARGEST) -> tuple[StepOutcome, ...]:
    """As the device would see them: a loss that is not finite or above `limit` is skipped."""
    return tuple(StepOutcome(first + i, 0, loss, 1.0, loss <= limit) for i, loss in enumerate(losses))


def after(*losses: float, state: SpikeState | None = None, **sections: float | None) -> SpikeState:
    made = StabilitySettings.model_validate(sections)
    return update((state or SpikeState()).observe(steps(*losses)), made).state


@settings(deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=0, max_size=40), st.integers(8, 20), st.floats(1, 50))
def test_the_limit_is_the_median_and_its_deviation_of_the_last_losses(losses: list[float], window: int, sigmas: float) -> None:
    state = SpikeState()
    made = StabilitySettings(spike_window=window, spike_sigmas=sigmas)
    level = 0.0
    for i, loss in enumerate(losses):
        state = update(state.observe(steps(loss, first=i)), made).state
        last = np.array(losses[: i + 1][-window:])
        if len(last) < window:
            assert state.limit == LARGEST
            continue
        median = np.median(last)
        level = max(level, median)
        plain = median + sigmas * max(1.4826 * np.median(np.abs(last - median)), 0.1 * level)
        logs = np.log(np.maximum(last, 1e-12))
        middle = np.median(logs)
        beyond = middle + sigmas * 1.4826 * np.median(np.abs(logs - middle))
        assert state.limit == pytest.approx(min(max(plain, np.exp(min(beyond, 88.7228))), LARGEST), rel=1e-4)


def test_a_long_tail_is_no_spike_and_a_jump_out_of_steady_losses_is() -> None:
    """Losses of one row whose weight is one over its mask ratio, against those of a plain mean."""
    ratios = np.random.default_rng(1).uniform(1e-3, 1, 2000)
    masked = np.random.default_rng(2).binomial(64, ratios)
    tail = [float(loss) for loss in 3 * masked / 64 / ratios]
    steady = [float(loss) for loss in np.random.default_rng(3).normal(3, 0.1, 2000)]
    for losses, spikes in ((tail, 0), ([*steady, 12.0, *steady], 1)):
        state, skipped = SpikeState(), 0
        for i, loss in enumerate(losses):
            skipped += loss > state.limit
            state = update(state.observe(steps(loss, first=i, limit=state.limit)), StabilitySettings()).state
        assert skipped == state.skipped_steps == spikes


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(0, 3, width=32), st.sampled_from([NAN, INF, 1e30])), max_size=60))
def test_what_was_skipped_never_enters_the_statistics(losses: list[float]) -> None:
    made = StabilitySettings(spike_window=8, rollback_after=1000)
    state, taken = SpikeState(), []
    for i, loss in enumerate(losses):
        if loss <= state.limit:
            taken.append(loss)
        state = update(state.observe(steps(loss, first=i, limit=state.limit)), made).state
    assert state.window == tuple(taken[-8:])
    assert state.skipped_steps == len(losses) - len(taken)


@settings(deadline=None)
@given(st.lists(st.sampled_from([1.0, 1.1, NAN, INF]), max_size=40), st.lists(st.integers(1, 7), max_size=40))
def test_how_often_one_looks_changes_what_was_skipped_in_nothing(losses: list[float], cuts: list[int]) -> None:
    made = StabilitySettings(spike_sigmas=None, rollback_after=1000)
    whole = update(SpikeState().observe(steps(*losses)), made).state
    state, done = SpikeState(), 0
    for cut in [*cuts, len(losses)]:
        state = update(state.observe(steps(*losses[done : done + cut], first=done)), made).state
        done += cut
    assert state == whole


@pytest.mark.parametrize(("skipped", "too_many"), [(2, False), (3, True), (4, True)])
def test_so_many_in_a_row_are_too_many(skipped: int, too_many: bool) -> None:
    made = StabilitySettings(rollback_after=3)
    outcome = update(SpikeState().observe(steps(1.0, *[NAN] * skipped, 1.0)), made)
    assert bool(outcome.too_many) == too_many and outcome.state.streak == 0
    assert outcome.skips == (Skip(1, skipped, 0, "loss", "the loss is nan"),)


def test_a_row_goes_on_over_several_looks() -> None:
    made = StabilitySettings(rollback_after=3)
    first = update(SpikeState().observe(steps(NAN, NAN)), made)
    second = update(first.state.observe(steps(INF, first=2)), made)
    assert not first.too_many and second.too_many == Skip(0, 2, 0, "loss", "the loss is nan")
    assert second.skips == (Skip(2, 2, 0, "loss", "the loss is inf"),)


def test_causes_are_told_apart() -> None:
    state = after(*[1.0] * 8, spike_window=8)
    bad = (StepOutcome(8, 1, 1.0, INF, False), StepOutcome(9, 1, 5.0, 1.0, False), StepOutcome(10, 1, 5.5, 1.0, False))
    outcome = update(state.observe(bad), StabilitySettings(spike_window=8))
    assert [(s.first, s.last, s.stage, s.cause) for s in outcome.skips] == [(8, 8, 1, "gradient"), (9, 10, 1, "spike")]
    assert outcome.skips[0].words == "the norm of the gradient is inf"
    assert outcome.skips[1].words == "the loss of 5 is a spike (above 3)"
    assert outcome.skips[1].batches == "batches of steps 9 to 10 in stage 1"


def test_only_overflows_without_end_are_taken_for_trouble() -> None:
    made = StabilitySettings(rollback_after=2)
    overflow = [StepOutcome(i, 0, 1.0, INF, False) for i in range(OVERFLOWS + 2)]
    granted = update(SpikeState().observe(overflow[:OVERFLOWS]), made, overflows=True)
    assert (granted.state.overflows, granted.state.skipped_steps, granted.too_many) == (OVERFLOWS, 0, None)
    endless = update(granted.state.observe(overflow[OVERFLOWS:]), made, overflows=True)
    assert endless.state.skipped_steps == 2 and endless.too_many
    assert update(SpikeState().observe(overflow[:2]), made).too_many, "without a scaler there is no overflow"


def test_it_survives_json_with_figures_that_are_no_numbers() -> None:
    state = after(*[1.0, 2.0] * 4, NAN, spike_window=8).observe(steps(NAN, INF, 0.1, first=9))
    state = replace(state, rollbacks=(Rollback(9, 4, "why", 0.5),), good_at=4, overflows=2)
    read = SpikeState.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))
    assert repr(read) == repr(state)  # a NaN equals nothing
    assert read.window == state.window and read.lr_factor == 0.5


def test_the_path_is_kept_and_the_rest_goes_back() -> None:
    then = after(*[1.0] * 8, spike_window=8)
    now = replace(after(*[5.0] * 8, NAN, state=then, spike_window=8), good_at=3)
    back = now.rolled_back(then, Rollback(17, 8, "why", 1.0))
    assert (back.window, back.limit, back.level) == (then.window, then.limit, then.level)
    assert (back.skips, back.rollbacks, back.streak) == (now.skips, (Rollback(17, 8, "why", 1.0),), 0)


def test_the_bound_of_going_back() -> None:
    made = StabilitySettings(max_rollbacks=1)
    made.check(SpikeState(), 5, "why")
    with pytest.raises(InstabilityError, match=r"iteration 5: why; and the run has gone back 1 time already \(stability.max_rollbacks=1\)"):
        made.check(SpikeState(rollbacks=(Rollback(3, 0, "", 1.0),)), 5, "why")


def test_a_limit_is_a_number_that_float32_holds() -> None:
    assert np.float32(LARGEST) == np.finfo(np.float32).max
    assert math.isfinite(after(*[3e38, 1e38] * 8, spike_window=8).limit)
