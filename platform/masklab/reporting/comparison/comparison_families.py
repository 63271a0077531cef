"""The pairs of arms that a report compares, in three families, within each of which Holm's correction is made by itself.

The first family is the question that a comparison is made for, and is kept small for it: each compared curriculum against the baseline.
The other two explain its answer: each curriculum against its controls, and each control against the baseline. Testing these together
with the first would make the answer depend on how many controls stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from masklab.comparison.contrast import Contrast, contrasts
from masklab.comparison.outcomes import Outcomes
from masklab.curriculum.controls import CONTROLS
from masklab.errors import UserError
from masklab.reporting.comparison.record import ComparisonRecord


@dataclass(frozen=True)
class Pair:
    """`arm` against `baseline`; `contrast` is None where there is none, and `missing` tells why."""

    arm: str
    baseline: str
    contrast: Contrast | None
    missing: str = ""


@dataclass(frozen=True)
class Family:
    """Pairs whose tests are corrected together."""

    title: str
    pairs: tuple[Pair, ...]

    @property
    def tested(self) -> tuple[Contrast, ...]:
        """The pairs that have enough seeds in common."""
        return tuple(pair.contrast for pair in self.pairs if pair.contrast)


@dataclass(frozen=True)
class ControlArm:
    """The arm that stands for a `control` of a curriculum: its own, or one that is trained exactly as it would be."""

    control: str
    arm: str


@dataclass(frozen=True)
class Group:
    """A compared curriculum with its controls."""

    curriculum: str
    controls: tuple[ControlArm, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The curriculum, then its controls, each once."""
        return tuple(dict.fromkeys((self.curriculum, *(control.arm for control in self.controls))))


def groups_of(record: ComparisonRecord) -> tuple[Group, ...]:
    """The compared curricula in their order. A curriculum that serves as the baseline is none of them."""
    compared = [arm.name for arm in record.arms if arm.control is None and arm.name != record.baseline]
    return tuple(Group(name, tuple(_controls(record, name))) for name in compared)


def families_of(record: ComparisonRecord, outcomes: Outcomes) -> tuple[Family, Family, Family]:
    """Curricula against the baseline, curricula against their controls, controls against the baseline."""
    groups, baseline = groups_of(record), record.baseline
    against = f"against {baseline or 'the baseline'}"
    own = [(group.curriculum, arm) for group in groups for arm in group.arms if arm not in (group.curriculum, baseline)]
    compared = [group.curriculum for group in groups]
    controls = [arm.name for arm in record.arms if arm.name not in (*compared, baseline)]
    return (
        _family(f"Curricula {against}", outcomes, [(arm, baseline) for arm in compared if baseline], record.margin),
        _family("Curricula against their controls", outcomes, own, record.margin),
        _family(f"Controls {against}", outcomes, [(arm, baseline) for arm in controls if baseline], record.margin),
    )


def _controls(record: ComparisonRecord, curriculum: str) -> Iterable[ControlArm]:
    """In the order of `CONTROLS`."""
    own = {arm.control: arm.name for arm in record.arms if arm.controls_for == curriculum}
    alike = {x.control: x.same_as for x in record.left_out if x.controls_for == curriculum and x.same_as != curriculum}
    for control in CONTROLS:
        if arm := own.get(control) or alike.get(control):
            yield ControlArm(control, arm)


def _family(title: str, outcomes: Outcomes, pairs: list[tuple[str, str]], margin: float) -> Family:
    missing = {pair: words for pair in pairs if (words := _why_not(outcomes, *pair))}
    able = [pair for pair in pairs if pair not in missing]
    found = dict(zip(able, contrasts(outcomes, able, margin=margin), strict=True))
    return Family(title, tuple(Pair(*pair, found.get(pair), missing.get(pair, "")) for pair in pairs))


def _why_not(outcomes: Outcomes, arm: str, baseline: str) -> str:
    try:
        outcomes.difference(arm, baseline)
    except UserError as reason:
        return str(reason)
    return ""
