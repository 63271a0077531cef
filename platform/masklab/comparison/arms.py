"""The arms of a comparison: the compared curricula, and the controls that attribute their results.

All arms score the same validation stages, those of all compared curricula together, so that their stages' losses can be laid beside
each other. What advances a curriculum, and each of its controls, is the mean over those of its own, as when it is trained alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from masklab.curriculum.controls import CONTROLS, InapplicableError, training_digest, uniform, uniform_tail
from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.stage import Stage
from masklab.errors import ConfigError
from masklab.training.settings import ObjectiveSettings

BASELINE = "uniform"
"""The control that all curricula share."""


@dataclass(frozen=True)
class Arm:
    """One curriculum and its objective. `controls_for` names the arm whose claim it checks, `control` the way it does so.

    Both are None for a compared curriculum; the baseline has a `control` only, since it belongs to all of them.
    """

    name: str
    curriculum: Curriculum
    objective: ObjectiveSettings
    description: str
    control: str | None = None
    controls_for: str | None = None

    @property
    def digest(self) -> str:
        """Equal for arms that train alike."""
        return json.dumps([training_digest(self.curriculum), self.objective.model_dump(mode="json")])


@dataclass(frozen=True)
class LeftOut:
    """A control without an arm of its own: it does not apply, or is trained exactly as the arm `same_as`."""

    control: str
    controls_for: str
    reason: str
    same_as: str | None = None


@dataclass(frozen=True)
class Arms:
    """The arms in order, the baseline first; `baseline` names it, None where there is none."""

    arms: tuple[Arm, ...]
    left_out: tuple[LeftOut, ...]
    baseline: str | None


def arms_of(curricula: Sequence[Arm], baseline: Arm, controls: Sequence[str], seed: int, tail_share: float) -> Arms:
    """The arms of a comparison of `curricula`, with the `baseline` and the named `controls` of each.

    An arm that trains as an earlier one is left out in its favour. `seed` draws the order of what is shuffled. Raises ConfigError for
    a curriculum that cannot share its validation stages, and for names that clash.
    """
    shared = shared_stages([arm.curriculum for arm in curricula])
    compared = [replace(arm, curriculum=_sharing(arm.curriculum, shared)) for arm in curricula]
    base = replace(baseline, curriculum=uniform(compared[0].curriculum, baseline.curriculum), control=BASELINE)
    # the compared curricula come before all controls, so that none of them is left out as some other's control
    kept = {arm.digest: arm for arm in reversed(compared)}
    if BASELINE in controls:
        kept.setdefault(base.digest, base)
    left_out = []
    for arm, control in ((arm, control) for arm in compared for control in controls if control != BASELINE):
        try:
            candidate = _control_of(arm, control, seed, tail_share)
        except InapplicableError as reason:
            left_out.append(LeftOut(control, arm.name, str(reason)))
            continue
        same = kept.setdefault(candidate.digest, candidate)
        if same is not candidate:
            left_out.append(LeftOut(control, arm.name, f"it is trained exactly as {same.name}", same.name))
    arms = tuple(_in_order(compared, kept))
    _refuse_clashes(arms, compared)
    return Arms(arms, tuple(left_out), kept[base.digest].name if base.digest in kept else None)


def shared_stages(curricula: Sequence[Curriculum]) -> tuple[Stage, ...]:
    """The validation stages of all `curricula` in order, each way of masking once."""
    found: list[Stage] = []
    for stage in (stage for curriculum in curricula for stage in curriculum.pools):
        if stage.masking not in [other.masking for other in found]:
            found.append(Stage(masking=stage.masking))
    return tuple(found)


def _sharing(curriculum: Curriculum, shared: tuple[Stage, ...]) -> Curriculum:
    """`curriculum` validated on the `shared` stages; itself where these are its own."""
    if [stage.masking for stage in curriculum.pools] == [stage.masking for stage in shared]:
        return curriculum
    if curriculum.advance_on == "current_stage":
        raise ConfigError(
            f"compare.curricula: {curriculum.name} advances on its current stage's own validation stage, but all arms share the "
            f"{len(shared)} of all curricula; compare it alone, or give it advance_on: all_stages"
        )
    maskings = [stage.masking for stage in shared]
    own = tuple(maskings.index(curriculum.pools[number].masking) for number in curriculum.advance_over or range(len(curriculum.pools)))
    return curriculum.model_copy(update={"validation_stages": shared, "advance_over": own})


def _control_of(arm: Arm, control: str, seed: int, tail_share: float) -> Arm:
    """The control of `arm`, trained with the objective of it. Raises InapplicableError."""
    built = uniform_tail(arm.curriculum, tail_share) if control == "uniform_tail" else CONTROLS[control].build(arm.curriculum, seed)
    return Arm(built.name, built, arm.objective, built.description, control, arm.name)


def _in_order(compared: Sequence[Arm], kept: dict[str, Arm]) -> Iterator[Arm]:
    arms = list(kept.values())
    yield from (arm for arm in arms if arm.control == BASELINE)
    for curriculum in compared:
        yield from (arm for arm in arms if arm.name == curriculum.name and arm.control is None)
        yield from (arm for arm in arms if arm.controls_for == curriculum.name)


def _refuse_clashes(arms: Sequence[Arm], compared: Sequence[Arm]) -> None:
    names = [arm.name for arm in arms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"compare.curricula: two arms would be called {twice}; rename the curriculum, or leave the control out")
    for arm in compared:
        if arm.name not in names:
            same = next(other.name for other in compared if other.digest == arm.digest)
            raise ConfigError(f"compare.curricula: {arm.name} and {same} are trained exactly alike; name one of them")
