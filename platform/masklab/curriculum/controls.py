"""Controls: the arms that a comparison needs beside a curriculum, so that its result can be attributed.

That a curriculum beats the baseline may be due to its stages, to their order, to the last of them alone or to the uniform masks that
it lacks; each control takes one of these away. All keep the pools that the curriculum is validated on, and every stage but the last
ends by its share of the budget at the latest, so that no stage of a control is out of reach.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from masklab.curriculum.curriculum import Curriculum
from masklab.curriculum.stage import Stage
from masklab.errors import ConfigError
from masklab.rng import permutation, root_key

UNIFORM = Curriculum.model_validate(
    {
        "name": "uniform",
        "description": "The textbook forward process of masked diffusion with the linear schedule, from first to last. The baseline.",
        "stages": [{"type": "diffusion", "schedule": "linear"}],
    }
)
TAIL = 0.25
"""Share of the budget that a uniform tail takes, by default."""
MOST_COPIES = 8
"""Stages of a mixture at most: rows of a batch are dealt out one by one, and a batch of 16 has to reach them all."""


class InapplicableError(ConfigError):
    """A control that a curriculum cannot have, with the reason."""


@dataclass(frozen=True)
class Control:
    """`build` makes the control of a curriculum; its second argument seeds what is drawn."""

    name: str
    description: str
    """What the control holds fixed, and what it takes away."""
    build: Callable[[Curriculum, int], Curriculum]


def uniform(curriculum: Curriculum, baseline: Curriculum = UNIFORM) -> Curriculum:
    """The `baseline` under its own name, validated on the pools of `curriculum`."""
    if len(baseline.stages) > 1:
        raise ConfigError(f"{baseline.name} has {len(baseline.stages)} stages; a baseline has one, and no progression to speak of")
    return baseline.model_copy(update={"validation_stages": curriculum.pools, "advance_on": "all_stages", "stop_when_stale": False})


def shuffled(curriculum: Curriculum, seed: int = 0) -> Curriculum:
    """The stages in an order drawn by `seed`: never their own, and their reverse only where there is no third."""
    order = _ordered(curriculum)
    numbers = _numbered(curriculum)
    drawn = [tuple(permutation(root_key(seed, attempt), len(numbers)).tolist()) for attempt in range(64)]
    others = [candidate for candidate in drawn if [numbers[i] for i in candidate] != numbers]
    neither = [candidate for candidate in others if [numbers[i] for i in candidate] != numbers[::-1]]
    chosen = neither or others or [order[::-1]]
    return _rearranged(curriculum, chosen[0], "shuffled", "with its stages in another order, drawn at random")


def reversed_order(curriculum: Curriculum) -> Curriculum:
    """The stages from last to first."""
    order = _ordered(curriculum)
    if _numbered(curriculum) == _numbered(curriculum)[::-1]:
        raise InapplicableError(f"{curriculum.name} reads the same backwards")
    return _rearranged(curriculum, order[::-1], "reversed", "from its last stage to its first")


def mixture(curriculum: Curriculum) -> Curriculum:
    """All stages at all times, each in about its share of the rows: a stage with twice the budget of another is in the mixture twice."""
    _progressing(curriculum)
    copies = [stage for stage, count in zip(curriculum.stages, _copies(planned_shares(curriculum)), strict=True) for _ in range(count)]
    stages = _sharing(copies, [1 / len(copies)] * len(copies))
    return _made(curriculum, "mixture", "with all its stages mixed at all times", stages, mixing="all", stop_when_stale=False)


def last_only(curriculum: Curriculum) -> Curriculum:
    """The last stage from first to last."""
    _staged(curriculum)
    stages = _sharing(curriculum.stages[-1:], [1.0])
    return _made(curriculum, "last_only", "with its last stage alone", stages, mixing="current", stop_when_stale=False)


def uniform_tail(curriculum: Curriculum, share: float = TAIL) -> Curriculum:
    """The whole curriculum in the first part of the budget, then uniform diffusion for the last `share` of it."""
    if not 0 < share < 1:
        raise ConfigError(f"a uniform tail takes a share between 0 and 1 of the budget, not {share:g}")
    if curriculum.mixing != "current":
        raise InapplicableError(f"{curriculum.name} mixes its stages (mixing={curriculum.mixing}), so that none comes last by itself")
    if curriculum.stages[-1].masking == UNIFORM.stages[0].masking:
        raise InapplicableError(f"{curriculum.name} ends with uniform diffusion already")
    shares = [(1 - share) * own for own in planned_shares(curriculum)]
    stages = _sharing([*curriculum.stages, UNIFORM.stages[0]], [*shares, share])
    return _made(curriculum, "uniform_tail", f"then uniform diffusion for the last {100 * share:g} % of the budget", stages)


CONTROLS = {
    control.name: control
    for control in (
        Control("uniform", "The baseline: the budget without any curriculum.", lambda c, _: uniform(c)),
        Control("shuffled", "The same stages and shares in another order: is it the order, or the variety?", shuffled),
        Control("reversed", "The same stages and shares from hard to easy: is that the right way round?", lambda c, _: reversed_order(c)),
        Control("mixture", "The same masks without progression: is it the stages, or only the masks in them?", lambda c, _: mixture(c)),
        Control("last_only", "The last stage alone: do the stages before it help at all?", lambda c, _: last_only(c)),
        Control(
            "uniform_tail",
            "The curriculum, then uniform masks: does it lose to the baseline only by the mask ratios that it never trains?",
            lambda c, _: uniform_tail(c),
        ),
    )
}
"""Every control by its name, the baseline first."""


def planned_shares(curriculum: Curriculum) -> tuple[float, ...]:
    """The share of the budget that each stage gets if none ends before its `max_share`; they add up to 1.

    Stages without a `max_share`, and the last one, which nothing ends, share evenly what the others leave. Where these leave nothing,
    each gets its even part of the whole, and the others fit into the rest.
    """
    own = [stage.max_share for stage in curriculum.stages[:-1]] + [None]
    given, missing = sum(share for share in own if share is not None), own.count(None)
    if given >= 1 - 1e-9:
        even = 1 / len(own)
        scale = (1 - missing * even) / given
    else:
        even, scale = (1 - given) / missing, 1.0
    return tuple(even if share is None else share * scale for share in own)


def training_digest(curriculum: Curriculum) -> str:
    """A hash of what decides how a run is trained; that of a curriculum without progression leaves out all that would govern one."""
    body = curriculum.model_dump(mode="json", exclude={"name", "description", "validation_stages"})
    body["pools"] = [stage.masking.model_dump(mode="json") for stage in curriculum.pools]
    # the last stage ends with the run
    body["stages"][-1] |= {"max_iters": None, "max_share": None}
    if (curriculum.mixing == "all" or len(curriculum.stages) == 1) and not curriculum.stop_when_stale:
        body = {"masks": [stage.masking.model_dump(mode="json") for stage in curriculum.stages]}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def _staged(curriculum: Curriculum) -> None:
    if len(curriculum.stages) == 1:
        raise InapplicableError(f"{curriculum.name} has one stage only")


def _progressing(curriculum: Curriculum) -> None:
    _staged(curriculum)
    if curriculum.mixing == "all":
        raise InapplicableError(f"{curriculum.name} mixes all its stages at all times (mixing=all), so that their order is nothing")


def _ordered(curriculum: Curriculum) -> tuple[int, ...]:
    """The stages' numbers. Raises InapplicableError where there is only one order of them."""
    _progressing(curriculum)
    if len(set(_numbered(curriculum))) == 1:
        raise InapplicableError(f"all stages of {curriculum.name} are the same")
    return tuple(range(len(curriculum.stages)))


def _numbered(curriculum: Curriculum) -> list[int]:
    shares = (round(share, 4) for share in planned_shares(curriculum))
    likes = [stage.model_copy(update={"max_share": share}) for stage, share in zip(curriculum.stages, shares, strict=True)]
    return [likes.index(like) for like in likes]


def _rearranged(curriculum: Curriculum, order: Sequence[int], control: str, words: str) -> Curriculum:
    shares = planned_shares(curriculum)
    stages = _sharing([curriculum.stages[i] for i in order], [shares[i] for i in order])
    return _made(curriculum, control, words, stages)


def _sharing(stages: Sequence[Stage], shares: Sequence[float]) -> tuple[Stage, ...]:
    ends = [*(round(share, 6) for share in shares[:-1]), None]
    return tuple(stage.model_copy(update={"max_share": end}) for stage, end in zip(stages, ends, strict=True))


def _made(curriculum: Curriculum, control: str, words: str, stages: tuple[Stage, ...], **changes: object) -> Curriculum:
    own = {
        "name": f"{curriculum.name}-{control}",
        "description": f"{curriculum.name}, {words}.",
        "stages": stages,
        "validation_stages": curriculum.pools,
        "advance_on": "all_stages",
    }
    return curriculum.model_copy(update=own | changes)


def _copies(shares: Sequence[float]) -> list[int]:
    ways = [[max(1, round(total * share)) for share in shares] for total in range(len(shares), max(MOST_COPIES, len(shares)) + 1)]
    fitting = [way for way in ways if sum(way) <= max(MOST_COPIES, len(shares))]

    def error(way: list[int]) -> float:
        return max(abs(count / sum(way) - share) for count, share in zip(way, shares, strict=True))

    near = [way for way in fitting if error(way) <= 0.02]
    return near[0] if near else min(fitting or [[1] * len(shares)], key=error)
