"""Search spaces: what the words mean, which are refused, and that every point lies where it should."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.config.compose.composition import compose, compose_tree
from masklab.config.jobs.registry import TUNE
from masklab.config.jobs.tune import TuneConfig
from masklab.config.search.search_space import Choice, Uniform, Whole, corners, distribution, draw, grid, overrides_of
from masklab.curriculum.ramp import Ramp
from masklab.errors import ConfigError

positive = st.floats(1e-9, 1e9)
names = st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), min_size=1, max_size=6, unique=True)


def test_the_words_mean_what_they_say() -> None:
    assert distribution("log(1e-4, 1e-2)") == Uniform(1e-4, 1e-2, log=True)
    assert distribution(" uniform( 0.3,0.6 )") == Uniform(0.3, 0.6)
    assert distribution("int(2,8)") == Whole(2, 8)
    assert distribution("choice(sticky, [0.1,0.2], 'a, b', {a: 1})") == Choice(("sticky", "[0.1,0.2]", "'a, b'", "{a: 1}"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("3e-4", "is not a distribution"),
        ("lag(1, 2)", "did you mean 'log'"),
        ("log(0, 1)", "low must be above 0"),
        ("uniform(2, 1)", "low is above high"),
        ("uniform(1)", "two numbers"),
        ("uniform(a, b)", "two numbers"),
        ("uniform(0, inf)", "finite"),
        ("int(1, 2.5)", "whole numbers"),
        ("choice()", "no values"),
        ("choice(a,,b)", "an empty value"),
        ("choice(a, b, a)", "names a twice"),
        ("choice([a, b)", "missing at the end"),
        ("choice(a], b)", "unmatched"),
        ("__import__('os').system('true')", "unmatched"),
    ],
)
def test_what_cannot_be_is_refused(words: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason.replace("(", r"\(")):
        distribution(words)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_a_distribution_or_refused(words: str) -> None:
    try:
        found = distribution(words)
    except ConfigError:
        return
    assert found.ends


@settings(deadline=None)
@given(positive, positive, st.floats(0, 1), st.booleans())
def test_numbers_stay_between_their_ends(one: float, other: float, share: float, log: bool) -> None:
    low, high = sorted((one, other))
    each = distribution(f"{'log' if log else 'uniform'}({low!r}, {high!r})")
    assert isinstance(each, Uniform)
    assert low <= each.at(share) <= high
    assert each.at(0.0) == pytest.approx(low, rel=1e-5) and each.at(1.0) == pytest.approx(high, rel=1e-5)


@settings(deadline=None)
@given(st.integers(-50, 50), st.integers(0, 9))
def test_each_whole_number_has_the_same_share(low: int, more: int) -> None:
    each = Whole(low, low + more)
    values = [each.at(share) for share in (np.arange(10 * (more + 1)) + 0.5) / (10 * (more + 1))]
    assert {value: values.count(value) for value in values} == dict.fromkeys(range(low, low + more + 1), 10)


def test_a_logarithm_is_uniform() -> None:
    values = [math.log10(draw({"k": Uniform(1e-4, 1e-2, log=True)}, 3, n)["k"]) for n in range(2000)]  # type: ignore[arg-type]
    assert np.mean(values) == pytest.approx(-3, abs=0.05)
    assert np.quantile(values, [0.25, 0.75]) == pytest.approx([-3.5, -2.5], abs=0.07)


@settings(deadline=None)
@given(names, st.integers(0, 2**32), st.integers(0, 100))
def test_a_point_depends_on_the_seed_and_its_number_alone(keys: list[str], seed: int, number: int) -> None:
    space = {key: Uniform(0, 1) for key in keys}
    assert draw(space, seed, number) == draw(space, seed, number)
    assert draw(space, seed, number) != draw(space, seed, number + 1) != draw(space, seed + 1, number + 1)


@settings(deadline=None)
@given(names, names)
def test_a_grid_holds_every_combination_once(some: list[str], others: list[str]) -> None:
    points = grid({"a": Choice(tuple(some)), "b": Choice(tuple(others)), "c": Uniform(0, 1)}, 3)
    assert len({tuple(point.values()) for point in points}) == len(points) == 3 * len(some) * len(others)


def test_a_grid_of_numbers_holds_both_ends() -> None:
    assert Uniform(1e-4, 1e-2, log=True).grid(3) == (1e-4, 1e-3, 1e-2)
    assert Whole(2, 4).grid(9) == (2, 3, 4)
    assert Whole(1, 9).grid(3) == (1, 5, 9)


def test_the_corners_show_each_end_and_each_choice() -> None:
    space = {"a": Uniform(1, 2), "b": Choice(("x", "y", "z"))}
    assert list(corners(space)) == [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1, "b": "z"}]


@settings(deadline=None)
@given(st.floats(1e-12, 1e12))
def test_a_number_reads_the_same_in_an_override(value: float) -> None:
    (word,) = overrides_of({"training.learning_rate": value})
    assert float(word.partition("=")[2]) == value


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("dataset", "NELBOs of two texts"),
        ("validation.seed", "the NELBO"),
        ("training.max_iters", "one budget"),
        ("run.name", "trials are named by their numbers"),
        ("curriculum.validation_stages", "never searched"),
    ],
)
def test_what_would_make_trials_incomparable_cannot_be_searched(root: Path, key: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        compose_tree(TUNE, [f'sweep.space={{{key}: "int(1,2)"}}'], root)


@pytest.mark.parametrize("file", ["learning_rate", "ramp", "curricula"])
def test_every_corner_of_the_spaces_that_come_along_is_a_run(root: Path, file: str) -> None:
    config = compose_tree(TUNE, [f"sweep={file}"], root)
    assert isinstance(config, TuneConfig)
    for point in corners(config.sweep.distributions):
        compose(overrides_of(point), root)


def test_a_sweep_needs_a_space(root: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to search over"):
        compose_tree(TUNE, [], root)


def test_a_ramp_is_written_out_as_plain_stages(root: Path) -> None:
    config = compose(["curriculum=ramp", "ramp.n_stages=3", "ramp.stickiness=0.5", "curriculum.patience=2"], root)
    made = Ramp(n_stages=3, stickiness=0.5).curriculum()
    assert config.curriculum.stages == made.stages
    assert (config.curriculum.name, config.curriculum.patience) == ("ramp", 2)
    assert "ramp" not in config.curriculum.model_dump()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["curriculum=ramp", "ramp.end=2"], r"curriculum\.ramp\.end = 2: must be below"),
        (["curriculum=ramp", "ramp.stickyness=1"], "did you mean 'stickiness'"),
        (["curriculum=sticky", "ramp.end=0.5"], "sticky has stages of its own"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused(root: Path, words: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        compose(words, root)
