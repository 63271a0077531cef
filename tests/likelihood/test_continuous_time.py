"""The bound of the forward process under every schedule, against a process that can be enumerated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from enumerated_denoiser import EnumeratedDenoiser, random_joint
from enumeration import TEXTS, Enumeration, T, V, drawn_texts, inconsistent_network, windows_of

from masklab.corruption.noise_schedule import SCHEDULES, Cosine, Geometric, Linear, LogLinear, Polynomial
from masklab.likelihood.continuous_time import continuous_time_nelbo, levels
from masklab.likelihood.estimate import difference
from masklab.likelihood.nelbo import exact_count_nelbo

TRUTH, BELIEF = random_joint(V, T, seed=1), random_joint(V, T, seed=2)
NETWORK = inconsistent_network()
REFERENCE = Enumeration(NETWORK)


@dataclass(frozen=True)
class Truncated:
    """A parabola from far above 0 to far below 1, so that both ends weigh."""

    def value(self, t: np.ndarray) -> np.ndarray:
        return 0.15 + 0.5 * t**2

    def derivative(self, t: np.ndarray) -> np.ndarray:
        return t


SCHEDULED: list[Any] = [
    Linear(),
    Linear(eps=0.3),
    Cosine(),
    Cosine(offset=0.2, clip=0.6),
    Polynomial(power=0.5),
    Polynomial(power=3),
    LogLinear(),
    LogLinear(eps=0.4),
    Geometric(),
    Geometric(sigma_min=0.2, sigma_max=1.0),
    Truncated(),
]
each_schedule = pytest.mark.parametrize("schedule", SCHEDULED, ids=str)


def cross_entropy(p: float) -> float:
    """CE(p) of the network in the mean over the texts."""
    return sum(weight * REFERENCE.at_level(text, p) for text, weight in zip(TEXTS, TRUTH, strict=True))


# CE(p) is a polynomial of degree T - 1, so T values hold all of it
CE = np.polynomial.Polynomial.fit(np.linspace(0, 1, T), [cross_entropy(p) for p in np.linspace(0, 1, T)], T - 1)
ANY_ORDER = sum(weight * REFERENCE.any_order(text) for text, weight in zip(TEXTS, TRUTH, strict=True))


def expected(schedule: Any, timesteps: int | None) -> float:
    """The bound in closed form: the ends, and between them the integral over p or the sum over the steps."""
    first, last = (float(p) for p in schedule.value(np.array([0.0, 1.0])))
    if timesteps is None:
        between = CE.integ()(last) - CE.integ()(first)
    else:
        p = [float(schedule.value(np.array([i / timesteps]))[0]) for i in range(timesteps + 1)]
        between = sum((p[i] - p[i - 1]) * CE(p[i]) for i in range(1, timesteps + 1))
    return float(first * CE(first) + between + (1 - last) * CE(1.0))


def test_every_schedule_is_among_those_tested() -> None:
    assert set(SCHEDULES.values()) <= {type(schedule) for schedule in SCHEDULED}


def test_the_integral_over_levels_is_the_bound_over_orders() -> None:
    assert CE(0.37) == pytest.approx(cross_entropy(0.37), rel=1e-10)
    assert CE.integ()(1.0) - CE.integ()(0.0) == pytest.approx(ANY_ORDER, rel=1e-10)


@each_schedule
@pytest.mark.parametrize("timesteps", [None, 1, 5])
def test_the_mean_over_a_fine_grid_is_the_bound_in_closed_form(schedule: Any, timesteps: int | None) -> None:
    v = (np.arange(400_000) + 0.5) / 400_000
    p, weight = levels(schedule, timesteps, v**4)  # finer towards 0, where the derivative of a root is infinite
    assert np.isfinite(weight).all()
    # the mean of the sum of cross-entropies, over T, is p CE(p)
    assert (weight * p * CE(p) * 4 * v**3).mean() == pytest.approx(expected(schedule, timesteps), rel=3e-5)


@each_schedule
@pytest.mark.parametrize("timesteps", [None, 3])
def test_estimates_the_bound_of_a_network_that_is_no_joint_distribution(schedule: Any, timesteps: int | None) -> None:
    windows = windows_of(drawn_texts(TRUTH, 3000, seed=4))
    got = continuous_time_nelbo(NETWORK, windows, schedule, timesteps, 5, 500).estimate
    assert abs(got.nats - expected(schedule, timesteps)) < 4 * got.stderr
    assert got.stderr < 0.1 * got.nats


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), LogLinear(), Polynomial(), Geometric()], ids=lambda s: s.type)
def test_the_schedules_as_they_come_leave_nothing_of_the_bound_to_their_ends(schedule: Any) -> None:
    assert expected(schedule, None) == pytest.approx(ANY_ORDER, abs=2e-5)
    assert expected(schedule, 1000) == pytest.approx(ANY_ORDER, rel=1e-2)


@each_schedule
@pytest.mark.parametrize("timesteps", [None, 2])
def test_no_denoiser_gets_below_the_entropy_and_the_exact_one_comes_closest(schedule: Any, timesteps: int | None) -> None:
    entropy = -(TRUTH * np.log(TRUTH)).sum() / T
    windows = windows_of(drawn_texts(TRUTH, 2000, seed=6))
    exact, mistaken = (
        continuous_time_nelbo(model, windows, schedule, timesteps, 7, 500)  # type: ignore[arg-type]
        for model in (EnumeratedDenoiser(TRUTH, V, T), EnumeratedDenoiser(BELIEF, V, T))
    )
    assert exact.estimate.nats > entropy - 4 * exact.estimate.stderr
    assert difference(mistaken, exact).nats > 4 * difference(mistaken, exact).stderr


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), LogLinear(), Polynomial(), Geometric()], ids=lambda s: s.type)
def test_in_continuous_time_the_bound_of_a_consistent_denoiser_is_tight(schedule: Any) -> None:
    nll = -(TRUTH * np.log(BELIEF)).sum() / T
    model: Any = EnumeratedDenoiser(BELIEF, V, T)
    got = continuous_time_nelbo(model, windows_of(drawn_texts(TRUTH, 2000, seed=6)), schedule, None, 7, 500).estimate
    assert abs(got.nats - nll) < 4 * got.stderr


def test_agrees_with_the_exact_count() -> None:
    windows = windows_of(drawn_texts(TRUTH, 3000, seed=8))
    a, b = exact_count_nelbo(NETWORK, windows, 9, 500), continuous_time_nelbo(NETWORK, windows, Linear(), None, 9, 500)
    assert abs(a.estimate.nats - b.estimate.nats) < 4 * np.hypot(a.estimate.stderr, b.estimate.stderr)
    assert abs(a.estimate.nats - ANY_ORDER) < 4 * a.estimate.stderr


def test_a_level_of_nothing_has_no_weight() -> None:
    for schedule in (Polynomial(power=0.5), Polynomial(power=2), Cosine(), LogLinear()):
        p, weight = levels(schedule, None, np.zeros(1))
        assert (p[0], weight[0]) == (0, 0)


@pytest.mark.parametrize("schedule", [Linear(), Truncated(), Cosine()], ids=str)
def test_the_standard_error_is_the_spread_over_repetitions(schedule: Any) -> None:
    estimates = [
        continuous_time_nelbo(NETWORK, windows_of(drawn_texts(TRUTH, 256, seed)), schedule, None, seed, 256).estimate for seed in range(150)
    ]
    spread = np.std([e.nats for e in estimates], ddof=1)
    assert np.sqrt(np.mean([e.stderr**2 for e in estimates])) == pytest.approx(spread, rel=0.25)
