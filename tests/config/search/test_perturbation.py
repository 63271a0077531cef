"""How the values of a population move: within their distributions, by a fifth or to a neighbour, and only those that can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.config.search.search_space import Choice, Uniform, Value, Whole, moved, perturbed, why_fixed

RATE, RATIO, PATIENCE, SHAPE = Uniform(1e-4, 1e-2, log=True), Uniform(0.0, 0.6), Whole(2, 8), Choice(("linear", "geometric", "cosine"))
SPACE = {"training.learning_rate": RATE, "curriculum.stages.0.mask_ratio": RATIO, "curriculum.patience": PATIENCE, "ramp.shape": SHAPE}


def outcomes(each: Uniform | Whole | Choice, value: Value) -> set[Value]:
    return {moved(each, value, np.random.default_rng(seed)) for seed in range(40)}


def test_a_number_moves_by_a_fifth() -> None:
    assert outcomes(RATE, 1e-3) == {8e-4, 1.2e-3}


def test_a_number_stays_between_the_ends() -> None:
    assert outcomes(RATE, 1e-2) == {8e-3, 1e-2}
    assert outcomes(RATE, 1.1e-4) == {1e-4, 1.32e-4}


def test_a_whole_number_stays_whole_and_moves_by_one_at_least() -> None:
    assert outcomes(PATIENCE, 2) == {2, 3}
    assert outcomes(PATIENCE, 4) == {3, 5}
    assert outcomes(Whole(1, 100), 50) == {40, 60}


def test_a_choice_moves_to_a_neighbour() -> None:
    assert outcomes(SHAPE, "linear") == {"geometric"}
    assert outcomes(SHAPE, "geometric") == {"linear", "cosine"}
    assert outcomes(SHAPE, "cosine") == {"geometric"}
    assert outcomes(Choice(("only",)), "only") == {"only"}


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    resample=st.floats(0, 1),
    rate=st.floats(1e-4, 1e-2),
    ratio=st.floats(0, 0.6),
    patience=st.integers(2, 8),
    shape=st.sampled_from(SHAPE.values),
)
def test_every_point_is_one_of_the_space(seed: int, resample: float, rate: float, ratio: float, patience: int, shape: str) -> None:
    point: dict[str, Value] = dict(zip(SPACE, (rate, ratio, patience, shape), strict=True))
    after = perturbed(SPACE, point, resample, np.random.default_rng(seed))
    assert after.keys() == SPACE.keys()
    assert RATE.low <= float(after["training.learning_rate"]) <= RATE.high
    assert RATIO.low <= float(after["curriculum.stages.0.mask_ratio"]) <= RATIO.high
    assert after["curriculum.patience"] in range(2, 9) and isinstance(after["curriculum.patience"], int)
    assert after["ramp.shape"] in SHAPE.values


def test_values_that_are_drawn_afresh_have_their_distribution() -> None:
    rng = np.random.default_rng(0)
    drawn = [RATE.share(float(perturbed({"k": RATE}, {"k": 1e-3}, 1.0, rng)["k"])) for _ in range(4000)]
    counts = np.histogram(drawn, bins=10, range=(0, 1))[0]
    assert float(((counts - 400) ** 2 / 400).sum()) < 27.9, "chi-squared with 9 degrees of freedom exceeds that in 1 of 1000"


@pytest.mark.parametrize(
    "key",
    [
        "training.learning_rate",
        "training.weight_decay",
        "training.beta2",
        "objective.label_smoothing",
        "model.dropout",
        "curriculum.patience",
        "curriculum.stages.1.mask_ratio",
        "ramp.start",
        "curriculum.ramp.stickiness",
    ],
)
def test_what_can_change_in_the_middle_of_a_run_may_be_varied(key: str) -> None:
    assert why_fixed(key) is None


@pytest.mark.parametrize(
    "key",
    [
        "model.n_layer",
        "model.dropout_of_another_kind",
        "training.batch_size",
        "training.eval_interval",
        "curriculum",
        "curriculum.stages",
        "curriculum.name",
        "ramp.n_stages",
        "objective",
        "run.seed",
        "mode.type",
        "system.dtype",
        "sampling.steps",
    ],
)
def test_what_cannot_is_told_why(key: str) -> None:
    assert why_fixed(key)
