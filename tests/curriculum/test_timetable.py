"""The latest beginnings of stages, by hand."""

from __future__ import annotations

import pytest

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.timetable import timetable, unreachable


def curriculum(*ends: dict[str, float], **keys: object) -> Curriculum:
    return Curriculum.model_validate({"stages": [{"type": "random", "max_ratio": 0.3} | end for end in ends]} | keys)


@pytest.mark.parametrize(
    ("ends", "begins"),
    [
        ([{"max_share": 0.2}, {"max_share": 0.2}, {}], (0, 120, 240)),
        ([{"max_share": 0.25}] * 3 + [{}], (0, 180, 360, 540)),
        ([{"max_share": 0.35}] * 3 + [{}], (0, 240, 480, None)),
        ([{"max_iters": 61}, {"max_share": 0.1}, {}], (0, 120, 180)),
        ([{}, {}], (0, None)),
        ([{}], (0,)),
    ],
)
def test_a_stage_begins_at_the_evaluation_after_its_predecessors_share(
    ends: list[dict[str, float]], begins: tuple[int | None, ...]
) -> None:
    assert timetable(curriculum(*ends), 600, 60) == begins
    assert timetable(curriculum(*ends, patience=1, min_delta=0.5), 600, 60) == begins


def test_the_evaluation_at_the_end_of_the_budget_begins_nothing() -> None:
    assert timetable(curriculum({"max_share": 1.0}, {}), 600, 60) == (0, None)
    assert timetable(curriculum({"max_share": 0.5}, {}), 100, 60) == (0, 60)
    assert timetable(curriculum({"max_share": 0.5}, {}), 60, 60) == (0, None)


@pytest.mark.parametrize(
    ("ends", "keys", "missing"),
    [
        ([{"max_share": 0.35}] * 3 + [{}], {"patience": 9}, (3,)),
        ([{"max_share": 0.35}] * 3 + [{}], {"patience": 2}, ()),
        ([{}, {}], {"patience": 9}, ()),
        ([{}, {}], {"patience": 10}, (1,)),
        ([{"max_iters": 60}] * 11 + [{}], {"patience": 99}, (10, 11)),
    ],
)
def test_a_stage_is_out_of_reach_when_no_evaluation_can_end_its_predecessors_in_time(
    ends: list[dict[str, float]], keys: dict[str, object], missing: tuple[int, ...]
) -> None:
    assert unreachable(curriculum(*ends, **keys), 600, 60) == missing
