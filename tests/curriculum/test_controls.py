"""Controls: valid curricula that advance, on the pools of their original, each without the one thing it takes away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.config.compose.composition import compose, group_names
from masklab.curriculum.controls import (
    CONTROLS,
    UNIFORM,
    InapplicableError,
    last_only,
    mixture,
    planned_shares,
    reversed_order,
    shuffled,
    training_digest,
    uniform,
    uniform_tail,
)
from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.timetable import timetable
from masklab.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[2]
NAMES = [name for name in group_names(PROJECT)["curriculum"] if name != "none"]  # which masks nothing, so that nothing can be controlled


def shipped(name: str) -> Curriculum:
    return compose([f"curriculum={name}"], PROJECT).curriculum


SHIPPED = {name: shipped(name) for name in NAMES}


def scattered(*ratios: float, **keys: object) -> Curriculum:
    stages = [{"type": "random", "min_ratio": ratio, "max_ratio": ratio} for ratio in ratios]
    for stage in stages[:-1]:
        stage["max_share"] = 1 / len(ratios)
    return Curriculum.model_validate({"name": "mine", "stages": stages} | keys)


def ratios(curriculum: Curriculum) -> list[float]:
    return [stage.masking.expected_ratio(128) for stage in curriculum.stages]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", NAMES)
def test_every_control_is_a_valid_curriculum_on_the_same_pools_that_advances(name: str, control: str) -> None:
    original = SHIPPED[name]
    try:
        made = CONTROLS[control].build(original, 1)
    except InapplicableError as error:
        assert name in str(error)
        return
    assert Curriculum.model_validate(made.model_dump(mode="json")) == made
    assert [pool.masking for pool in made.pools] == [pool.masking for pool in original.pools]
    assert made.name == ("uniform" if control == "uniform" else f"{name}-{control}")
    assert made.description.endswith(".") and CONTROLS[control].description
    assert all(stage.max_share is not None for stage in made.stages[:-1])
    assert sum(stage.max_share or 0 for stage in made.stages[:-1]) < 1
    assert None not in timetable(made, 400, 1)


@given(st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.7]), min_size=2, max_size=7), st.integers(0, 2**31))
@settings(deadline=None)
def test_shuffled_has_the_same_stages_in_another_order_and_the_same_one_for_a_seed(drawn: list[float], seed: int) -> None:
    original = scattered(*drawn)
    if len(set(drawn)) == 1:
        with pytest.raises(InapplicableError, match="all stages of mine are the same"):
            shuffled(original, seed)
        return
    made = shuffled(original, seed)
    assert Counter(ratios(made)) == Counter(ratios(original)) and ratios(made) != ratios(original)
    assert made == shuffled(original, seed)
    if len(set(drawn)) > 2:
        assert ratios(made) != ratios(original)[::-1]


def test_seeds_shuffle_differently() -> None:
    original = scattered(0.1, 0.2, 0.3, 0.4, 0.5)
    assert len({tuple(ratios(shuffled(original, seed))) for seed in range(10)}) > 5


def test_stages_take_their_shares_along() -> None:
    made = reversed_order(SHIPPED["annealed"])
    assert [stage.max_share for stage in made.stages] == [0.4, 0.2, 0.2, None]
    assert [stage.masking for stage in made.stages] == [stage.masking for stage in SHIPPED["annealed"].stages[::-1]]
    again = reversed_order(made)
    assert [stage.masking for stage in again.stages] == [stage.masking for stage in SHIPPED["annealed"].stages]
    assert planned_shares(again) == pytest.approx(planned_shares(SHIPPED["annealed"]))


@pytest.mark.parametrize(
    ("given_shares", "planned"),
    [
        ([0.2, 0.2, 0.2, None], [0.2, 0.2, 0.2, 0.4]),
        ([None, 0.5, None], [0.25, 0.5, 0.25]),
        ([None, None], [0.5, 0.5]),
        ([None], [1.0]),
        ([0.5, 0.5, None], [1 / 3, 1 / 3, 1 / 3]),
        ([0.9, 0.3, 0.6, None], [0.375, 0.125, 0.25, 0.25]),
        ([0.25, 0.9], [0.25, 0.75]),
    ],
)
def test_planned_shares_add_up_to_the_budget(given_shares: list[float | None], planned: list[float]) -> None:
    stages = [{"type": "random", "max_ratio": 0.5, "max_share": share} for share in given_shares]
    assert planned_shares(Curriculum.model_validate({"stages": stages})) == pytest.approx(planned)
    assert sum(planned) == pytest.approx(1)


def test_a_mixture_holds_a_stage_as_often_as_its_share_asks() -> None:
    made = mixture(SHIPPED["annealed"])
    assert made.mixing == "all" and not made.stop_when_stale
    assert Counter(stage.masking.describe() for stage in made.stages).most_common(1)[0][1] == 2 and len(made.stages) == 5
    assert len(mixture(SHIPPED["sticky"]).stages) == 3
    assert len(mixture(scattered(*[0.05 * i for i in range(1, 11)])).stages) == 10


def test_last_only_and_uniform_have_one_stage() -> None:
    assert [stage.masking for stage in last_only(SHIPPED["sticky"]).stages] == [SHIPPED["sticky"].stages[-1].masking]
    assert uniform(SHIPPED["sticky"]).stages == UNIFORM.stages == SHIPPED["uniform"].stages
    assert uniform(SHIPPED["sticky"], SHIPPED["cosine"]).name == "cosine"
    with pytest.raises(ConfigError, match="sticky has 3 stages"):
        uniform(SHIPPED["random"], SHIPPED["sticky"])


def test_the_built_in_baseline_is_the_one_of_the_file() -> None:
    body = yaml.safe_load((PROJECT / "curricula/uniform.yaml").read_text(encoding="utf-8"))
    assert Curriculum.model_validate({"name": "uniform"} | body) == UNIFORM


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_a_uniform_tail_takes_its_share_and_scales_the_stages(share: float) -> None:
    made = uniform_tail(SHIPPED["sticky"], share)
    assert made.stages[-1].masking == UNIFORM.stages[0].masking
    expected = [(1 - share) * own for own in planned_shares(SHIPPED["sticky"])]
    assert planned_shares(made) == pytest.approx([*expected, share], abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_tail_of_nothing_or_everything_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        uniform_tail(SHIPPED["sticky"], share)


@pytest.mark.parametrize(
    ("control", "original", "reason"),
    [
        ("shuffled", scattered(0.3), "one stage only"),
        ("reversed", scattered(0.3), "one stage only"),
        ("mixture", scattered(0.3), "one stage only"),
        ("last_only", scattered(0.3), "one stage only"),
        ("reversed", scattered(0.3, 0.5, 0.3), "reads the same backwards"),
        ("shuffled", scattered(0.3, 0.3), "are the same"),
        ("shuffled", scattered(0.3, 0.5, mixing="all"), "mixes all its stages"),
        ("reversed", scattered(0.3, 0.5, mixing="all"), "mixes all its stages"),
        ("mixture", scattered(0.3, 0.5, mixing="all"), "mixes all its stages"),
        ("uniform_tail", scattered(0.3, 0.5, mixing="cumulative"), "none comes last"),
        ("uniform_tail", UNIFORM, "ends with uniform diffusion already"),
    ],
)
def test_a_control_that_does_not_fit_says_why(control: str, original: Curriculum, reason: str) -> None:
    with pytest.raises(InapplicableError, match=reason):
        CONTROLS[control].build(original, 0)


def test_a_curriculum_that_watches_its_own_pool_has_controls_that_watch_all() -> None:
    original = scattered(0.2, 0.4, 0.6, advance_on="current_stage")
    for name in CONTROLS:
        made = CONTROLS[name].build(original, 0)
        assert made.advance_on == "all_stages" and Curriculum.model_validate(made.model_dump(mode="json")) == made


def test_arms_that_train_alike_are_recognised() -> None:
    two = scattered(0.3, 0.7)
    arms = [
        two,
        uniform(two),
        shuffled(two, 3),
        reversed_order(two),
        uniform(SHIPPED["sticky"], UNIFORM.model_copy(update={"name": "again"})),
    ]
    mine, base, mixed_up, backwards, again = map(training_digest, arms)
    assert mixed_up == backwards and base == again
    assert len({mine, base, mixed_up}) == 3
    explicit = two.model_copy(update={"validation_stages": two.stages, "name": "explicit"})
    assert training_digest(explicit) == mine


def test_what_only_governs_progression_does_not_tell_single_stages_apart() -> None:
    patient = UNIFORM.model_copy(update={"patience": 50, "validation_stages": SHIPPED["sticky"].stages})
    assert training_digest(patient) == training_digest(UNIFORM)
    assert training_digest(patient.model_copy(update={"stop_when_stale": True})) != training_digest(UNIFORM)
    two = scattered(0.3, 0.7)
    assert training_digest(two) != training_digest(two.model_copy(update={"patience": 50}))
    assert training_digest(two) != training_digest(two.model_copy(update={"validation_stages": UNIFORM.stages}))
