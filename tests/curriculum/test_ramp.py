"""Ramps: their ratios in closed form, their clustering, and the curricula that they make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from masklab.corruption.run_length import RunLength
from masklab.curriculum.controls import UNIFORM
from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.ramp import Ramp
from masklab.rng import RowStreams, root_key


@pytest.mark.parametrize(
    ("keys", "ratios"),
    [
        ({"shape": "linear"}, [0.2, 0.4, 0.6, 0.8]),
        ({"shape": "geometric"}, [0.2, 0.2 * 4 ** (1 / 3), 0.2 * 4 ** (2 / 3), 0.8]),
        ({"shape": "cosine"}, [0.2, 0.35, 0.65, 0.8]),
        ({"exponent": 2}, [0.2, 0.2 + 0.6 / 9, 0.2 + 0.6 * 4 / 9, 0.8]),
        ({"start": 0.8, "end": 0.2}, [0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_the_ratios_follow_the_shape(keys: dict[str, object], ratios: list[float]) -> None:
    ramp = Ramp.model_validate({"n_stages": 4, "start": 0.2, "end": 0.8} | keys)
    np.testing.assert_allclose(ramp.ratios, ratios, atol=1e-6)


def test_stages_have_equal_shares_and_the_tail_its_own() -> None:
    made = Ramp(n_stages=3, uniform_tail=0.25).curriculum()
    assert [stage.max_share for stage in made.stages] == [0.25, 0.25, 0.25, None]
    assert made.stages[-1].masking == UNIFORM.stages[0].masking
    bare = Ramp(n_stages=4, uniform_tail=0).curriculum("mine")
    assert (bare.name, [stage.max_share for stage in bare.stages]) == ("mine", [0.25, 0.25, 0.25, None])


def mean_run(masking: RunLength) -> tuple[float, float]:
    """The share and the mean run of selected positions in a large draw."""
    selected = masking.draw(RowStreams.of(root_key(1), np.arange(200), 200), 1_000).selected
    starts = selected.copy()
    starts[:, 1:] &= ~selected[:, :-1]
    return float(selected.mean()), float(selected.sum() / starts.sum())


@pytest.mark.parametrize("stickiness", [0.0, 0.5, 1.0])
def test_stickiness_lengthens_runs_and_leaves_the_ratio(stickiness: float) -> None:
    ramp = Ramp(n_stages=2, start=0.2, end=0.6, stickiness=stickiness, uniform_tail=0)
    for stage, ratio in zip(ramp.curriculum().stages, (0.2, 0.6), strict=True):
        assert isinstance(stage.masking, RunLength)
        assert mean_run(stage.masking) == pytest.approx((ratio, 8**stickiness / (1 - ratio)), rel=0.06)


def test_it_says_what_it_is() -> None:
    assert (
        Ramp().describe()
        == "A linear ramp from 15 % to 90 % in 4 stages of scattered masks, then uniform diffusion for 25 % of the budget."
    )
    bent = Ramp(shape="cosine", exponent=2, stickiness=1, uniform_tail=0, start=0.9, end=0.1, n_stages=6)
    assert bent.describe() == "A cosine ramp with exponent 2 from 90 % to 10 % in 6 stages of masks in runs 8 times as long as by chance."


@pytest.mark.parametrize(
    "keys", [{"n_stages": 1}, {"start": 0}, {"end": 1}, {"stickiness": 1.1}, {"uniform_tail": 1}, {"shape": "steps"}, {"step": 1}]
)
def test_what_is_no_ramp_is_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Ramp.model_validate(keys)


Ratio = st.floats(0.001, 0.999)
Ramps = st.builds(
    Ramp,
    n_stages=st.integers(2, 64),
    start=Ratio,
    end=Ratio,
    shape=st.sampled_from(["linear", "geometric", "cosine"]),
    exponent=st.floats(0.05, 10),
    stickiness=st.floats(0, 1),
    uniform_tail=st.just(0.0) | st.floats(0.001, 0.99),
)


@settings(deadline=None)
@given(Ramps)
def test_every_ramp_is_a_valid_curriculum_that_runs_one_way_within_its_ends(ramp: Ramp) -> None:
    made = ramp.curriculum()
    assert Curriculum.model_validate(made.model_dump(mode="json")) == made
    assert sum(stage.max_share or 0 for stage in made.stages[:-1]) < 1 and made.description.endswith(".")
    steps = np.diff(ramp.ratios) * (1 if ramp.end >= ramp.start else -1)
    assert (steps >= 0).all()
    assert (ramp.ratios[0], ramp.ratios[-1]) == pytest.approx((ramp.start, ramp.end), abs=1e-6)


def test_every_number_of_a_ramp_changes_its_stages() -> None:
    base = Ramp()
    others = {"n_stages": 5, "start": 0.2, "end": 0.8, "shape": "cosine", "exponent": 2.0, "stickiness": 0.5, "uniform_tail": 0.1}
    assert set(others) == set(Ramp.model_fields)
    digests = {Ramp.model_validate({key: value}).curriculum().digest() for key, value in others.items()}
    assert len(digests | {base.curriculum().digest()}) == len(others) + 1
