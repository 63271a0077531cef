"""Which arms a comparison has, which it leaves out, and what all of them are judged by."""

from __future__ import annotations

from typing import Any

import pytest

from masklab.comparison.arms import Arm, Arms, arms_of, shared_stages
from masklab.curriculum.controls import CONTROLS, UNIFORM
from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.progress import Progress, StageLosses, watched_loss
from masklab.errors import ConfigError
from masklab.training.settings import ObjectiveSettings

LOW = {"type": "random", "max_ratio": 0.3, "max_share": 0.5}
HIGH = {"type": "random", "max_ratio": 0.7}
RUNS = {"type": "run_length", "mask_ratio": 0.5, "mean_run": 4}
DIFFUSION = {"type": "diffusion", "schedule": "linear"}


def arm(name: str, *stages: dict[str, Any], weighting: str = "none", **keys: Any) -> Arm:
    curriculum = Curriculum.model_validate({"name": name, "stages": stages, **keys})
    return Arm(name, curriculum, ObjectiveSettings.model_validate({"weighting": weighting}), "")


BASELINE = Arm("uniform", UNIFORM, ObjectiveSettings(), "")


def made(*curricula: Arm, controls: tuple[str, ...] = tuple(CONTROLS)) -> Arms:
    return arms_of(curricula, BASELINE, controls, seed=3, tail_share=0.4)


def named(arms: Arms, name: str) -> Arm:
    return next(arm for arm in arms.arms if arm.name == name)


def test_the_baseline_comes_first_and_each_curriculum_before_its_controls() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("three", LOW, RUNS, HIGH), controls=("uniform", "reversed", "last_only"))
    assert [a.name for a in arms.arms] == [
        *("uniform", "rising", "rising-reversed", "rising-last_only", "three", "three-reversed"),
    ]
    assert [(a.control, a.controls_for) for a in arms.arms[:3]] == [("uniform", None), (None, None), ("reversed", "rising")]
    assert arms.baseline == "uniform"


def test_an_arm_that_is_trained_as_another_is_left_out_in_its_favour() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("three", LOW, RUNS, HIGH), controls=("last_only",))
    (left_out,) = arms.left_out
    assert (left_out.control, left_out.controls_for, left_out.same_as) == ("last_only", "three", "rising-last_only")
    assert len({a.digest for a in arms.arms}) == len(arms.arms)
    assert arms.baseline is None


def test_a_compared_curriculum_stays_where_it_is_anothers_control() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("high", HIGH), controls=("last_only",))
    assert [a.name for a in arms.arms] == ["rising", "high"]
    assert [(out.controls_for, out.same_as) for out in arms.left_out] == [("rising", "high"), ("high", None)]


def test_a_baseline_that_is_compared_itself_is_trained_once() -> None:
    arms = made(arm("mine", LOW, HIGH), arm("plain", DIFFUSION), controls=("uniform",))
    assert [a.name for a in arms.arms] == ["mine", "plain"]
    assert arms.baseline == "plain"


def test_a_control_that_does_not_apply_is_listed_with_the_reason() -> None:
    arms = made(arm("flat", HIGH))
    assert [a.name for a in arms.arms] == ["uniform", "flat", "flat-uniform_tail"]
    assert {out.control: "one stage" in out.reason for out in arms.left_out} == dict.fromkeys(
        ("shuffled", "reversed", "mixture", "last_only"), True
    )


def test_the_same_masks_under_another_objective_are_another_arm() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("weighted", LOW, HIGH, weighting="elbo"), controls=("reversed",))
    assert [a.name for a in arms.arms] == ["rising", "rising-reversed", "weighted", "weighted-reversed"]
    assert named(arms, "weighted-reversed").objective.weighting == "elbo"


def test_all_arms_score_the_stages_of_all_curricula_once() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("three", {**LOW, "patience": 9}, RUNS, HIGH))
    wanted = [stage.masking for stage in named(arms, "rising").curriculum.pools]
    assert [masking.describe() for masking in wanted] == [
        stage.masking.describe() for stage in shared_stages([arm("x", LOW, HIGH, RUNS).curriculum])
    ]
    assert all([stage.masking for stage in a.curriculum.pools] == wanted for a in arms.arms)


def test_a_curriculum_that_is_compared_alone_is_trained_as_it_stands() -> None:
    alone = arm("alone", LOW, HIGH, advance_on="current_stage")
    assert named(made(alone, controls=("uniform",)), "alone").curriculum == alone.curriculum


def test_the_tail_takes_the_share_that_is_asked_for() -> None:
    stages = named(made(arm("rising", LOW, HIGH)), "rising-uniform_tail").curriculum.stages
    assert sum(stage.max_share or 0 for stage in stages) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("curricula", "words"),
    [
        ([arm("own", LOW, HIGH, advance_on="current_stage"), arm("other", RUNS)], "own advances on its current stage's own"),
        ([arm("one", LOW, HIGH), arm("two", LOW, HIGH)], "two and one are trained exactly alike"),
        ([arm("one", LOW, HIGH), arm("one-shuffled", RUNS)], "two arms would be called one-shuffled"),
    ],
    ids=["current_stage", "alike", "clash"],
)
def test_curricula_that_cannot_be_compared_are_refused(curricula: list[Arm], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(*curricula)


def test_each_arm_advances_over_its_curriculums_own_stages() -> None:
    arms = made(arm("rising", LOW, HIGH), arm("mixed", RUNS, LOW), arm("twice", LOW, RUNS, LOW, RUNS), controls=("uniform", "reversed"))
    assert {name: named(arms, name).curriculum.advance_over for name in ("rising", "rising-reversed", "mixed", "twice")} == {
        "rising": (0, 1),
        "rising-reversed": (0, 1),
        "mixed": (2, 0),
        "twice": (0, 2, 0, 2),
    }
    losses = StageLosses(10, (3.0, 1.0, 8.0), 0.1)
    assert watched_loss(losses, Progress(), named(arms, "rising").curriculum) == 2.0
    assert watched_loss(losses, Progress(), named(arms, "twice").curriculum) == 5.5
