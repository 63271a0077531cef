"""The diffusion stage: its times against scipy's distributions, its weights against integrals over the mask probability."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from mask_statistics import LEAST_P_VALUE, p_value_of_counts, streams
from numpy.polynomial import Polynomial as Series
from pydantic import ValidationError
from scipy import integrate, stats

from masklab.corruption.diffusion import Diffusion
from masklab.corruption.masking import MaskDraw
from masklab.corruption.noise_schedule import SCHEDULES, Cosine, Geometric, Linear, LogLinear, NoiseSchedule, Polynomial
from masklab.rng import RowStreams, Stream, root_key

Betas = tuple[float, float] | None
BETAS: list[Betas] = [None, (2.0, 2.0), (0.5, 3.0), (6.0, 1.0)]
VARIANTS: list[NoiseSchedule] = [
    *(family() for family in SCHEDULES.values()),
    Linear(eps=0.2),
    Cosine(offset=0.1, clip=0.9),
    Polynomial(power=0.7),
    LogLinear(eps=0.1),
    Geometric(sigma_min=0.1, sigma_max=3.0),
]
every_schedule = pytest.mark.parametrize("schedule", VARIANTS, ids=lambda schedule: schedule.describe())
every_beta = pytest.mark.parametrize("beta", BETAS)


def ends(schedule: NoiseSchedule) -> tuple[float, float]:
    """p(0) and p(1)."""
    low, high = schedule.value(np.array([0.0, 1.0]))
    return float(low), float(high)


def drawn_times(diffusion: Diffusion, rows: RowStreams) -> np.ndarray:
    return diffusion.times(rows.stratified(Stream.LEVEL))


@pytest.mark.parametrize("parts", [[64], [1, 63], [10, 20, 34]])
def test_times_cover_every_stratum_once_over_the_global_batch_made_whole_or_in_parts(parts: list[int]) -> None:
    rows, root, first = 64, root_key(5), 0
    probabilities = []
    for size in parts:
        part = RowStreams.of(root, np.arange(first, first + size), rows)
        probabilities.append(Diffusion().draw(part, 4).probability.astype(np.float64))
        first += size
    t = (np.concatenate(probabilities) - 1e-3) / (1 - 1e-3)
    assert sorted(np.floor(t * rows).astype(int)) == list(range(rows))


@every_beta
def test_times_follow_their_distribution_closer_than_independent_draws_could(beta: Betas) -> None:
    """The Kolmogorov-Smirnov distance of n stratified times is at most 1/n; independent ones have about 0.8 / sqrt(n)."""
    rows = 500
    t = drawn_times(Diffusion(beta=beta), streams(rows))
    distribution = stats.beta(*(beta or (1.0, 1.0)))
    assert stats.kstest(t, distribution.cdf).statistic <= 1 / rows + 1e-9
    assert sorted(np.floor(distribution.cdf(t) * rows).astype(int)) == list(range(rows))
    assert t.mean() == pytest.approx(distribution.mean(), abs=2e-3)
    assert t.std() == pytest.approx(distribution.std(), abs=2e-3)


@pytest.mark.parametrize("beta", BETAS[1:])
def test_density_is_the_betas_and_that_of_timesteps_their_probability(beta: tuple[float, float]) -> None:
    t = np.linspace(0.01, 0.99, 99)
    np.testing.assert_allclose(Diffusion(beta=beta).density(t), stats.beta(*beta).pdf(t), rtol=1e-10)
    stepped = Diffusion(beta=beta, timesteps=10)
    steps = np.arange(1, 11) / 10
    probability = stepped.density(steps) / 10
    assert probability.sum() == pytest.approx(1.0, rel=1e-12)
    drawn = np.rint(stepped.times(np.random.default_rng(0).random(20_000)) * 10).astype(int)
    assert p_value_of_counts(np.bincount(drawn, minlength=11)[1:], probability) > LEAST_P_VALUE


def test_every_timestep_comes_up_equally_often_in_a_batch_of_whole_multiples() -> None:
    draw = Diffusion(timesteps=8).draw(streams(32), 4)
    steps = np.rint((draw.probability - 1e-3) / (1 - 1e-3) * 8).astype(int)
    assert np.bincount(steps).tolist() == [0] + [4] * 8


def test_elbo_weight_is_minus_alpha_prime_over_masked_share() -> None:
    linear = Diffusion().draw(streams(64), 32)
    np.testing.assert_allclose(linear.elbo_weight, (1 - 1e-3) / linear.probability, rtol=1e-5)
    rows, h = streams(64), 1e-6
    cosine, t = Diffusion(schedule=Cosine()).draw(rows, 32), rows.stratified(Stream.LEVEL)
    inside = (t > h) & (t < 0.97)
    slope = (Cosine().value(t[inside] + h) - Cosine().value(t[inside] - h)) / (2 * h)
    np.testing.assert_allclose(cosine.elbo_weight[inside], slope / Cosine().value(t[inside]), rtol=1e-4)


def test_a_weight_that_is_not_restored_is_the_one_of_evenly_drawn_times() -> None:
    rows = streams(64)
    plain, restored = (Diffusion(beta=(2.0, 3.0), restore_elbo=restore).draw(rows, 8) for restore in (False, True))
    np.testing.assert_allclose(plain.elbo_weight, (1 - 1e-3) / plain.probability, rtol=1e-5)
    t = drawn_times(Diffusion(beta=(2.0, 3.0)), rows)
    np.testing.assert_allclose(plain.elbo_weight / restored.elbo_weight, stats.beta(2.0, 3.0).pdf(t), rtol=1e-5)


@dataclass(frozen=True)
class ChosenLevels(RowStreams):
    """Streams whose stratified uniforms are the given ones."""

    levels: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def at(cls, levels: np.ndarray) -> ChosenLevels:
        of = streams(len(levels))
        return cls(of.keys, of.root, of.index, of.total, levels)

    def stratified(self, name: Stream) -> np.ndarray:
        return self.levels


@every_schedule
@every_beta
@pytest.mark.parametrize("g", [lambda p: 1 + 0 * p, lambda p: np.sin(3 * p) ** 2], ids=["one", "sine"])
def test_weighted_mean_over_times_is_the_integral_over_the_mask_probability(
    schedule: NoiseSchedule, beta: Betas, g: Callable[[float], float]
) -> None:
    """E[weight p g(p)] = int g(p) dp from p(0) to p(1), whatever the times are drawn from (Kingma et al. 2021, section 5.1)."""
    t, distribution = (np.arange(4000) + 0.5) / 4000, stats.beta(*(beta or (1.0, 1.0)))
    draw = Diffusion(schedule=schedule, beta=beta).draw(ChosenLevels.at(distribution.cdf(t)), 1)
    p = draw.probability.astype(np.float64)
    weighted_mean = (distribution.pdf(t) * draw.elbo_weight * p * g(p)).mean()
    assert weighted_mean == pytest.approx(integrate.quad(g, *ends(schedule))[0], rel=2e-3)


@every_schedule
@every_beta
@pytest.mark.parametrize("steps", [1, 7])
def test_weights_of_timesteps_sum_to_the_telescoped_bound(schedule: NoiseSchedule, beta: Betas, steps: int) -> None:
    """The weight times p is the share that becomes masked in a step over the step's probability, so its mean is p(1) - p(0)."""
    reached = stats.beta(*(beta or (1.0, 1.0))).cdf(np.arange(steps + 1) / steps)
    draw = Diffusion(schedule=schedule, beta=beta, timesteps=steps).draw(ChosenLevels.at((reached[1:] + reached[:-1]) / 2), 1)
    np.testing.assert_allclose(draw.probability, schedule.value(np.arange(1, steps + 1) / steps), rtol=1e-6)
    low, high = ends(schedule)
    assert (np.diff(reached) * draw.elbo_weight * draw.probability).sum() == pytest.approx(high - low, rel=1e-5)


T = 4
LOSS = {
    masked: dict(zip(masked, np.random.default_rng(sum(2**i for i in masked)).uniform(0.1, 3.0, len(masked)), strict=True))
    for size in range(1, T + 1)
    for masked in itertools.combinations(range(T), size)
}
"""Cross-entropy of a fixed predictor at each masked position of each set of masked positions."""


def expected_loss_over_p() -> Series:
    """The mean summed cross-entropy when each position is masked with probability p, divided by p: a polynomial in p."""
    p, total = Series([0.0, 1.0]), Series([0.0])
    for masked, losses in LOSS.items():
        total += p ** (len(masked) - 1) * (1 - p) ** (T - len(masked)) * sum(losses.values())
    return total


def test_the_bound_is_the_mean_over_all_orders_of_generation() -> None:
    """Hoogeboom et al. 2022, eq. 2, by enumeration."""
    of_order = [sum(LOSS[tuple(sorted(order[k:]))][order[k]] for k in range(T)) for order in itertools.permutations(range(T))]
    integral = expected_loss_over_p().integ()
    assert integral(1.0) - integral(0.0) == pytest.approx(np.mean(of_order), rel=1e-12)


@every_schedule
@pytest.mark.parametrize("beta", [None, (1.5, 1.2)])
def test_every_schedule_gives_one_bound_up_to_its_own_range_of_mask_probabilities(schedule: NoiseSchedule, beta: Betas) -> None:
    draw = Diffusion(schedule=schedule, beta=beta).draw(streams(40_000), 1)
    p, integral = draw.probability.astype(np.float64), expected_loss_over_p().integ()
    low, high = ends(schedule)
    bound = (draw.elbo_weight * p * expected_loss_over_p()(p)).mean()
    assert bound == pytest.approx(integral(high) - integral(low), rel=4e-3)


def test_positions_follow_the_probability_of_their_row() -> None:
    draw = Diffusion().draw(streams(2000), 400)
    spread = np.sqrt(draw.probability * (1 - draw.probability) / 400) + 1e-9
    z = (draw.selected.mean(axis=1) - draw.probability) / spread
    inside = (draw.probability > 0.02) & (draw.probability < 0.98)
    assert abs(z[inside].mean()) < 0.1
    assert z[inside].std() == pytest.approx(1.0, abs=0.06)


def test_a_row_at_probability_zero_selects_nothing_and_weighs_nothing() -> None:
    draw = MaskDraw.at(np.zeros((3, 3), bool), np.array([0.0, 0.5, 1e-60]), np.array([1.5, 1.5, 1.5]))
    assert draw.elbo_weight.tolist() == [0.0, 3.0, 0.0]


EXTREME: list[dict[str, object]] = [
    {"type": "linear", "eps": 0.0},
    {"type": "cosine", "offset": 0.0, "clip": 1.0},
    {"type": "polynomial", "power": 0.01},
    {"type": "polynomial", "power": 100.0},
    {"type": "loglinear", "eps": 0.0},
    {"type": "geometric", "sigma_min": 1e-300, "sigma_max": 1e300},
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("schedule", EXTREME, ids=lambda schedule: str(schedule["type"]))
@pytest.mark.parametrize("beta", [None, (0.05, 0.05), (0.05, 1000.0), (1000.0, 1000.0), (2.0, 0.5)])
@pytest.mark.parametrize("timesteps", [None, 1, 1000, 10**9])
def test_weights_are_finite_at_the_ends_of_every_range(schedule: dict[str, object], beta: Betas, timesteps: int | None) -> None:
    diffusion = Diffusion(schedule=schedule, beta=beta, timesteps=timesteps)
    draw = diffusion.draw(streams(32), 2)
    assert np.isfinite(draw.elbo_weight).all()
    assert (draw.elbo_weight >= 0).all()
    low, high = diffusion.ratio_range(2)
    assert 0 <= low <= high <= 1
    assert 0 <= diffusion.expected_ratio(2) <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("schedule", EXTREME, ids=lambda schedule: str(schedule["type"]))
@pytest.mark.parametrize("beta", [None, (2.0, 2.0), (0.1, 0.1), (50.0, 0.05)])
def test_weights_are_finite_at_the_first_and_last_uniform(schedule: dict[str, object], beta: Betas) -> None:
    uniforms = ChosenLevels.at(np.array([0.0, 2.0**-53, 1.0 - 2.0**-53]))
    draw = Diffusion(schedule=schedule, beta=beta).draw(uniforms, 2)
    assert np.isfinite(draw.elbo_weight).all()


def test_expected_ratio_of_beta_times_is_its_integral() -> None:
    for beta in ((2.0, 2.0), (0.5, 3.0)):
        of_t = integrate.quad(lambda t, b=beta: Polynomial(power=3.0).value(np.array(t)) * stats.beta(*b).pdf(t), 0, 1)[0]
        assert Diffusion(schedule=Polynomial(power=3.0), beta=beta).expected_ratio(1) == pytest.approx(of_t, abs=1e-5)
    # more timesteps than fit a table
    assert Diffusion(beta=(2.0, 2.0), timesteps=10**9).expected_ratio(1) == pytest.approx(0.5005, rel=1e-4)


def test_ratio_range_leaves_out_a_thousandth_of_a_bell_at_either_end() -> None:
    low, high = Diffusion(schedule=LogLinear(eps=0.0), beta=(20.0, 10.0)).ratio_range(1)
    assert stats.beta(20.0, 10.0).cdf([low, high]) == pytest.approx([0.001, 0.999])
    assert Diffusion(timesteps=4).ratio_range(1) == pytest.approx((0.25 * 0.999 + 0.001, 1.0))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"restore_elbo": False}, "restore_elbo=false goes with beta"),
        ({"beta": [0, 1]}, "greater than or equal to 0.05"),
        ({"beta": [1, -1]}, "greater than or equal to 0.05"),
        ({"beta": [1, 1e4]}, "less than or equal to 1000"),
        ({"beta": [1]}, "beta.1"),
        ({"beta": [1, 2, 3]}, "beta"),
        ({"beta": 2}, "beta"),
        ({"beta": [1, float("inf")]}, "finite"),
    ],
)
def test_a_wrong_beta_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Diffusion.model_validate(values)


def test_descriptions_tell_times_and_steps() -> None:
    assert Diffusion(schedule="cosine", beta=(2, 2.5), timesteps=16).describe() == "diffusion, cosine, Beta(2, 2.5), 16 steps"
    assert Diffusion(beta=(2, 2), restore_elbo=False).describe() == "diffusion, linear, Beta(2, 2) unrestored"
