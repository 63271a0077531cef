"""Noise schedules against finite differences and the papers' formulas, and the ways in which a configuration names them."""

from __future__ import annotations

from math import cos, exp, log, pi
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from masklab.config.compose.composition import compose
from masklab.config.compose.yaml_io import dump, load
from masklab.corruption.diffusion import Diffusion
from masklab.corruption.noise_schedule import SCHEDULES, Cosine, Geometric, Linear, LogLinear, NoiseSchedule, Polynomial, Schedule
from masklab.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
VARIANTS: list[NoiseSchedule] = [
    *(family() for family in SCHEDULES.values()),
    Linear(eps=0.0),
    Linear(eps=0.2),
    Cosine(offset=0.0, clip=1.0),
    Cosine(offset=0.3, clip=0.7),
    Polynomial(power=0.5),
    Polynomial(power=1.0),
    Polynomial(power=7.0),
    LogLinear(eps=0.0),
    LogLinear(eps=0.3),
    Geometric(sigma_min=0.1, sigma_max=2.0),
    Geometric(sigma_min=1e-9, sigma_max=1e3),
]
every_variant = pytest.mark.parametrize("schedule", VARIANTS, ids=lambda schedule: schedule.describe())


@every_variant
def test_derivative_matches_central_differences(schedule: NoiseSchedule) -> None:
    t, h = np.linspace(0.01, 0.99, 197), 1e-6
    below, above = schedule.value(t - h), schedule.value(t + h)
    smooth = (above < schedule.value(np.ones(1))) | (below == above)  # all but the kink of a clip
    np.testing.assert_allclose(schedule.derivative(t)[smooth], ((above - below) / (2 * h))[smooth], rtol=1e-5, atol=2e-6)
    assert smooth.sum() >= 195


@every_variant
def test_schedule_rises_within_the_unit_interval_and_its_derivative_is_never_negative(schedule: NoiseSchedule) -> None:
    t = np.linspace(0, 1, 1001)
    p = schedule.value(t)
    assert (np.diff(p) >= 0).all()
    assert p.min() >= 0
    assert p.max() <= 1
    assert p.dtype == np.float64
    assert (schedule.derivative(t) >= 0).all()
    assert np.isfinite(schedule.derivative(t[1:])).all()


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_schedules_are_the_formulas_of_their_papers(t: float) -> None:
    def p(schedule: NoiseSchedule) -> float:
        return float(schedule.value(np.array([t]))[0])

    assert p(Linear(eps=0.01)) == pytest.approx((1 - 0.01) * t + 0.01, abs=1e-15)
    for s in (0.0, 0.008, 0.2):
        alpha = cos((t + s) / (1 + s) * pi / 2) ** 2 / cos(s / (1 + s) * pi / 2) ** 2
        assert p(Cosine(offset=s, clip=0.95)) == pytest.approx(min(1 - alpha, 0.95), abs=1e-12)
    for power in (0.5, 2.0, 3.0):
        alpha = 1 - t**power
        assert p(Polynomial(power=power)) == pytest.approx(1 - alpha, abs=1e-12)
    total_noise = -log(1 - (1 - 1e-3) * t)
    assert p(LogLinear()) == pytest.approx(1 - exp(-total_noise), abs=1e-12)
    total_noise = 0.01 ** (1 - t) * 5.0**t
    assert p(Geometric(sigma_min=0.01, sigma_max=5.0)) == pytest.approx(1 - exp(-total_noise), abs=1e-12)


def test_nothing_is_masked_at_time_zero_where_the_formula_says_so() -> None:
    at_zero = {name: float(family().value(np.zeros(1))[0]) for name, family in SCHEDULES.items()}
    assert {name for name, p in at_zero.items() if p == 0.0} == {"cosine", "polynomial", "loglinear"}
    assert at_zero["linear"] == 1e-3
    assert at_zero["geometric"] == pytest.approx(1e-4, rel=1e-4)


@every_variant
def test_a_dump_reads_back_and_a_description_tells_variants_apart(schedule: NoiseSchedule) -> None:
    adapter: TypeAdapter[NoiseSchedule] = TypeAdapter(Schedule)
    assert adapter.validate_python(schedule.model_dump()) == schedule
    assert adapter.validate_json(schedule.model_dump_json()) == schedule
    assert adapter.validate_python(schedule) == schedule
    assert [other for other in VARIANTS if other.describe() == schedule.describe()] == [schedule]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_bare_name_is_the_family_with_its_defaults(name: str) -> None:
    schedule = Diffusion.model_validate({"schedule": name}).schedule
    assert schedule == SCHEDULES[name]()
    assert schedule.describe() == name


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cosine", Cosine()),
        ("{type:cosine,offset:0.01}", Cosine(offset=0.01)),
        ("{type: polynomial, power: 3}", Polynomial(power=3)),
        ("{type:geometric}", Geometric()),
    ],
)
def test_a_schedule_is_given_on_the_command_line_by_name_or_with_keys(value: str, expected: NoiseSchedule, tmp_path: Path) -> None:
    config = compose(["curriculum=uniform", f"curriculum.stages.0.schedule={value}"], PROJECT)
    assert config.curriculum.stages[0].masking.schedule == expected
    (tmp_path / "config.yaml").write_text(dump(config), encoding="utf-8")
    assert load(tmp_path / "config.yaml") == config


def test_a_configuration_that_named_its_schedule_by_one_word_still_loads(tmp_path: Path) -> None:
    config = compose(["curriculum=uniform"], PROJECT)
    mapping = "    schedule:\n      type: linear\n      eps: 0.001\n"
    assert mapping in dump(config)
    (tmp_path / "config.yaml").write_text(dump(config).replace(mapping, "    schedule: linear\n"), encoding="utf-8")
    assert load(tmp_path / "config.yaml") == config


NAMES = "linear, cosine, polynomial, loglinear, geometric"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cosin", f" = 'cosin': must be one of {NAMES} (did you mean 'cosine'?)"),
        ("3", f" = 3: must be one of {NAMES}"),
        ("null", f" = null: must be one of {NAMES}"),
        ("[cosine]", f": must be one of {NAMES}"),
        ("{type:polynomal}", f".type = 'polynomal': must be one of {NAMES} (did you mean 'polynomial'?)"),
        ("{power:3}", ".type: must be given"),
        ("{type:polynomial,powr:3}", ".powr: unknown key (did you mean 'power'?)"),
        ("{type:polynomial,power:0}", ".power = 0: must be above 0.0"),
        ("{type:polynomial,power:many}", ".power = 'many': must be a number"),
        ("{type:linear,eps:1}", ".eps = 1: must be below 1.0"),
        ("{type:cosine,clip:1.5}", ".clip = 1.5: must be at most 1.0"),
        ("{type:geometric,sigma_min:30}", ": sigma_min 30 must be below sigma_max 20"),
        ("{type:geometric,sigma_min:40,sigma_max:50}", ": the share of masked positions must rise from t = 0 to t = 1"),
    ],
)
def test_a_wrong_schedule_is_one_line_with_key_value_and_choices(value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["curriculum=uniform", f"curriculum.stages.0.schedule={value}"], PROJECT)
    assert str(caught.value).startswith(f"curriculum.stages.0.schedule{message}")
    assert "\n" not in str(caught.value)
    assert ";" not in str(caught.value)
