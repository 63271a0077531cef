"""A curriculum that is given by the few numbers of a ramp: expanded into plain stages before anything is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from masklab.config.compose.validation_messages import InvalidConfigError
from masklab.curriculum.ramp import Ramp
from masklab.errors import ConfigError

PLACE = "curriculum.ramp"


def whole_names(overrides: Sequence[str]) -> list[str]:
    """`overrides` with `ramp.KEY`, which is short for `curriculum.ramp.KEY`, written out."""
    return [_whole_name(word) for word in overrides]


def expanded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`tree` with the stages of its ramp in place of `curriculum.ramp`, where it has one; the curriculum's other keys stay.

    Raises ConfigError for a ramp that cannot be.
    """
    section = tree.get("curriculum")
    if not isinstance(section, Mapping) or "ramp" not in section:
        return dict(tree)
    rest = {key: value for key, value in section.items() if key != "ramp"}
    if "stages" in rest:
        raise ConfigError(f"{PLACE}: {rest.get('name', 'this curriculum')} has stages of its own; its keys go with curriculum=ramp")
    try:
        ramp = Ramp.model_validate(section["ramp"] or {})
    except ValidationError as error:
        problems = InvalidConfigError.of(error, section["ramp"], Ramp).problems
        raise ConfigError("; ".join(f"{PLACE}.{problem.line}" for problem in problems)) from None
    made = ramp.curriculum().model_dump(mode="json", exclude_unset=True)
    return {**tree, "curriculum": {**rest, "stages": made["stages"], "description": made["description"]}}


def _whole_name(word: str) -> str:
    bare = word.lstrip("+~")
    return f"{word[: len(word) - len(bare)]}curriculum.{bare}" if bare.startswith("ramp.") else word
