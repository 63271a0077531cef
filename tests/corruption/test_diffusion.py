"""The diffusion stage and its noise schedules against finite differences and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mask_statistics import streams

from masklab.corruption.diffusion import Diffusion
from masklab.corruption.masking import MaskDraw
from masklab.corruption.noise_schedule import SCHEDULES
from masklab.rng import Stream

every_schedule = pytest.mark.parametrize("name", list(SCHEDULES))


@every_schedule
def test_derivative_matches_central_differences(name: str) -> None:
    schedule, t, h = SCHEDULES[name](), np.linspace(0.01, 0.99, 197), 1e-6
    slope = (schedule.value(t + h) - schedule.value(t - h)) / (2 * h)
    np.testing.assert_allclose(schedule.derivative(t), slope, rtol=1e-6, atol=1e-6)


@every_schedule
def test_schedule_rises_within_the_unit_interval(name: str) -> None:
    p = SCHEDULES[name]().value(np.linspace(0, 1, 1001))
    assert (np.diff(p) >= 0).all()
    assert p.min() >= 0
    assert 0.99 < p.max() <= 1


def test_schedules_are_their_formulas() -> None:
    for t in (0.0, 0.2, 0.5, 0.9):
        at = np.array([t])
        assert SCHEDULES["linear"]().value(at)[0] == pytest.approx((1 - 1e-3) * t + 1e-3, abs=1e-15)
        cosine = 1 - math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        assert SCHEDULES["cosine"]().value(at)[0] == pytest.approx(cosine, abs=1e-12)
    assert SCHEDULES["cosine"]().value(np.ones(1))[0] == 0.999


def test_elbo_weight_is_minus_alpha_prime_over_masked_share() -> None:
    linear = Diffusion().draw(streams(64), 32)
    np.testing.assert_allclose(linear.elbo_weight, (1 - 1e-3) / linear.probability, rtol=1e-5)
    rows, h = streams(64), 1e-6
    cosine, t = Diffusion(schedule="cosine").draw(rows, 32), Diffusion().times(rows.stratified(Stream.LEVEL))
    value = SCHEDULES["cosine"]().value
    inside = (t > h) & (t < 0.97)
    slope = (value(t[inside] + h) - value(t[inside] - h)) / (2 * h)
    np.testing.assert_allclose(cosine.elbo_weight[inside], slope / value(t[inside]), rtol=1e-4)


def test_discrete_elbo_weights_sum_to_the_telescoped_bound() -> None:
    """The weight times p is N times the share that becomes masked in that step, so its mean over the steps is p(1) - p(0)."""
    steps = 16
    draw = Diffusion(schedule="cosine", timesteps=steps).draw(streams(steps), 8)
    assert (draw.elbo_weight * draw.probability).mean() == pytest.approx(0.999, rel=1e-5)


def test_times_are_stratified_over_the_batch() -> None:
    rows = 64
    t = (Diffusion().draw(streams(rows), 4).probability.astype(np.float64) - 1e-3) / (1 - 1e-3)
    assert sorted(np.floor(t * rows).astype(int)) == list(range(rows))


def test_every_timestep_comes_up_equally_often_in_a_batch_of_whole_multiples() -> None:
    draw = Diffusion(timesteps=8).draw(streams(32), 4)
    steps = np.rint((draw.probability - 1e-3) / (1 - 1e-3) * 8).astype(int)
    assert np.bincount(steps).tolist() == [0] + [4] * 8


def test_positions_follow_the_probability_of_their_row() -> None:
    draw = Diffusion().draw(streams(2000), 400)
    spread = np.sqrt(draw.probability * (1 - draw.probability) / 400) + 1e-9
    z = (draw.selected.mean(axis=1) - draw.probability) / spread
    inside = (draw.probability > 0.02) & (draw.probability < 0.98)
    assert abs(z[inside].mean()) < 0.1
    assert z[inside].std() == pytest.approx(1.0, abs=0.06)


def test_a_row_at_probability_zero_selects_nothing_and_weighs_nothing() -> None:
    assert SCHEDULES["cosine"]().value(np.zeros(1))[0] == 0.0
    draw = MaskDraw.at(np.zeros((2, 3), bool), np.array([0.0, 0.5]), np.array([1.5, 1.5]))
    assert draw.elbo_weight.tolist() == [0.0, 3.0]
