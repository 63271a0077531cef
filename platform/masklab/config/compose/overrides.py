"""Overrides such as `curriculum=sticky` and `training.max_iters=500`, in Hydra's grammar: parsed, and laid over a tree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType

from masklab.config.compose.aliases import disagreement, modern_assignment
from masklab.errors import ConfigError, did_you_mean

LITERAL = ("sampling.prompt",)
"""Keys whose values are taken literally, brackets and commas included, unless they are quoted."""
LIST_INDEX = re.compile(r"\[(\d+)\]")
"""`stages[0].` in a key, which Hydra's grammar spells `stages.0.`."""


@dataclass(frozen=True)
class Assignment:
    """Sets `path` to `value`, or removes it if `delete`; `written` is the key as the user wrote it.

    A `literal` value is text in which nothing is interpreted.
    """

    path: tuple[str, ...]
    value: Any
    delete: bool
    written: str
    literal: bool = False


@dataclass(frozen=True)
class Overrides:
    """A parsed command line: the file chosen for some groups, and values of some keys."""

    choices: Mapping[str, str]
    assignments: tuple[Assignment, ...]

    @classmethod
    def parse(
        cls, strings: Sequence[str], groups: Mapping[str, Sequence[str]], shorthands: Mapping[str, str] = MappingProxyType({})
    ) -> Overrides:
        """Read `strings`, given the names of the files in each group and the keys that short names stand for.

        Raises ConfigError for the first that cannot be read.
        """
        choices: dict[str, str] = {}
        values: list[Assignment] = []
        parser = OverridesParser.create()
        for string in strings:
            if literal := _literal(string, shorthands):
                values.append(literal)
                continue
            override = _parsed(parser, string)
            key = override.key_or_group
            if key in groups and override.package is None:
                choices[key] = _choice(override, groups[key])
            else:
                values.append(_assignment(override, string, shorthands))
        _refuse_disagreement(values)
        return cls(choices, tuple(values))

    def apply(self, tree: dict[str, Any]) -> None:
        """Set all but the literal values in `tree`, in order. Raises ConfigError for an index outside its list."""
        for assignment in self.assignments:
            if not assignment.literal:
                _assign(tree, assignment)

    def apply_literal(self, tree: dict[str, Any]) -> None:
        """Set the literal values in `tree`, after all interpolations are resolved."""
        for assignment in self.assignments:
            if assignment.literal:
                _assign(tree, assignment)

    def value_of(self, key: str) -> Any:
        """The last value given for the key; None if there is none."""
        return next((a.value for a in reversed(self.assignments) if ".".join(a.path) == key), None)


def _literal(string: str, shorthands: Mapping[str, str]) -> Assignment | None:
    """The assignment of a literal key, None for any other override and for a quoted value, which the grammar reads."""
    key, equals, value = string.partition("=")
    written = key.removeprefix("++").removeprefix("+")
    whole = shorthands.get(written, written)
    if whole not in LITERAL or not equals or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return None
    return Assignment(tuple(whole.split(".")), value, delete=False, written=written, literal=True)


def _parsed(parser: OverridesParser, string: str) -> Override:
    if string.startswith("-"):
        key = string.lstrip("-").split("=")[0]
        raise ConfigError(f"{string}: unknown option; keys are written without dashes, as {key or 'key'}=VALUE (see --help)")
    try:
        key, equals, value = string.partition("=")
        override = parser.parse_override(LIST_INDEX.sub(r".\1", key) + equals + value)
        sweep = override.is_sweep_override()
    except Exception as error:  # the grammar fails with many types of errors: all mean that the text is not an override
        hint = "write KEY=VALUE" if "=" not in string else "quote a value with special characters, as KEY='\"a=b, c\"'"
        raise ConfigError(f"{string!r}: not an override; {hint}") from error
    if sweep:
        raise ConfigError(f"{string}: several values for one key; give one, write a list as [a,b], or quote text with commas")
    return override


def _choice(override: Override, available: Sequence[str]) -> str:
    group, name = override.key_or_group, override.value()
    there = f"there are {', '.join(available)}"
    if override.type is OverrideType.DEL or isinstance(name, list | dict) or name is None:
        raise ConfigError(f"{override.input_line}: {group} takes the name of one file; {there}")
    if str(name) not in available:
        raise ConfigError(f"{group} = {str(name)!r}: no such {group}; {there}{did_you_mean(str(name), available)}")
    return str(name)


def _assignment(override: Override, string: str, shorthands: Mapping[str, str]) -> Assignment:
    key = override.key_or_group
    if not key or override.package is not None or "/" in key or key.split(".")[0] == "hydra":
        raise ConfigError(f"{string}: unknown key '{key}'; --help lists them all")
    delete = override.type is OverrideType.DEL
    path, value = modern_assignment(tuple(shorthands.get(key, key).split(".")), None if delete else override.value())
    return Assignment(path, value, delete, key)


def _refuse_disagreement(values: Sequence[Assignment]) -> None:
    given: dict[tuple[str, ...], Assignment] = {}
    for new in values:
        old = given.setdefault(new.path, new)
        if old.written != new.written and old.value != new.value:
            one, other = old.written.rpartition(".")[2], new.written.rpartition(".")[2]
            if one == other:  # a shorthand, which stands at the top
                one, other = old.written, new.written
            raise disagreement(new.path[:-1], one, old.value, other, new.value)


def _assign(tree: dict[str, Any], assignment: Assignment) -> None:
    """Set or drop one key. Mappings are merged, and an item of a list is replaced as a whole."""
    node: Any = tree
    *parents, last = assignment.path
    for depth, part in enumerate(parents):
        if isinstance(node, list):
            node = node[_index(node, part, assignment.path[:depth])]
        elif isinstance(node.get(part), dict | list):
            node = node[part]
        elif isinstance(node.get(part), str):  # a bare name is short for a mapping of that type
            node[part] = node = {"type": node[part]}
        else:
            node[part] = node = {}
        if not isinstance(node, dict | list):
            raise ConfigError(f"{'.'.join(assignment.path[: depth + 1])} = {node!r}: has no keys of its own")
    if isinstance(node, list):
        place = _index(node, last, tuple(parents))
        if assignment.delete:
            del node[place]
        else:
            node[place] = assignment.value
    elif assignment.delete:
        if last not in node:
            raise ConfigError(f"~{assignment.written}: nothing to take away, it has its default already")
        del node[last]
    else:
        node[last] = _merged(node.get(last), assignment.value)


def _index(items: list[Any], part: str, where: tuple[str, ...]) -> int:
    if part.isdecimal() and int(part) < len(items):
        return int(part)
    name = where[-1]
    there = f"the {name} are numbered 0 to {len(items) - 1}" if items else f"there are no {name}"
    raise ConfigError(f"{'.'.join((*where, part))}: {there}; to add one give the whole list, {'.'.join(where)}=[...]")


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("type") != new.get("type", old.get("type")):  # keys of another type mean nothing to this one
            return new
        return old | {key: _merged(old.get(key), value) for key, value in new.items()}
    return new
