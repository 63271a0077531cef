"""Error messages for invalid configurations: the key as the user wrote it, its value, and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from masklab.config.jobs.registry import FLATTENED, JOBS
from masklab.errors import ConfigError, did_you_mean, shown
from masklab.schema import Section

Location = tuple[int | str, ...]

EXPECTED = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}
"""What a value of each of pydantic's error types should have been, with the names of the error's context."""


class Problem(NamedTuple):
    """Something wrong with a configuration: the keys that may be at fault, as the user wrote them, and a line of text."""

    keys: tuple[str, ...]
    line: str


class ProblemsError(ValueError):
    """Raised by a validator that finds problems between several keys."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(problem.line for problem in problems))
        self.problems = problems


class InvalidConfigError(ConfigError):
    """A configuration that its sections refuse: all that is wrong, on one line, and each problem of its own."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    @classmethod
    def of(cls, error: ValidationError, tree: Mapping[str, Any], root: type[Section]) -> Self:
        """The error for `tree`, which does not make a `root`."""
        # a list whose items are all wrong counts as empty too, which helps nobody
        details = [d for d in error.errors(include_url=False) if not (d["type"] == "too_short" and d["input"])]
        found = tuple(dict.fromkeys(problem for detail in _one_a_field(details) for problem in _problems(detail, tree, root)))
        return cls("; ".join(dict.fromkeys(problem.line for problem in found)), found)


def _one_a_field(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """One error per key that takes a word or a list: for a list, its items' errors; else the words and `a list`."""
    words = {d["loc"][:-1]: d for d in details if d["type"] == "literal_error" and str(d["loc"][-1]).startswith("literal[")}
    for detail in details:
        loc = detail["loc"]
        if loc[:-1] in words and detail["type"] in ("tuple_type", "list_type"):
            continue
        if words.get(loc[:-1]) is not detail:
            yield detail
        elif not isinstance(detail["input"], list | tuple):
            yield detail | {"ctx": {"expected": f"{detail['ctx']['expected']} or a list"}}


def _problems(detail: ErrorDetails, tree: Mapping[str, Any], root: type[Section]) -> tuple[Problem, ...]:
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, ProblemsError):
        return raised.problems
    place = ".".join(str(part) for part in written_location(detail["loc"], tree, keep_last=detail["type"] == "missing"))
    key = f"{place}.{_discriminator(detail['ctx'])}" if detail["type"].startswith("union_tag") else place
    return (Problem((key,), _line(detail, tree, root, place)),)


def _line(detail: ErrorDetails, tree: Mapping[str, Any], root: type[Section], place: str) -> str:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return f"{place}: unknown key{_nearest_key(detail['loc'], place, root)}"
    if kind == "missing":
        return f"{place}: must be given"
    if kind == "union_tag_not_found":
        return f"{place}.{_discriminator(context)}: must be given"
    if kind == "union_tag_invalid":
        return f"{place}.{_discriminator(context)} = {context['tag']!r}: {_one_of(context['tag'], context['expected_tags'])}"
    if kind == "too_short":
        return f"{place}: no {place.rpartition('.')[2].replace('_', ' ')}; give at least {context['min_length']}"
    if kind == "value_error":
        wanted = str(context["error"])
    elif kind == "literal_error":
        wanted = _one_of(str(given), context["expected"])
    else:
        wanted = EXPECTED.get(kind, detail["msg"]).format(**context)
    if not place:
        return wanted
    return f"{place}: {wanted}" if isinstance(given, dict | list | tuple | Section) else f"{place} = {shown(given)}: {wanted}"


def written_location(loc: Location, tree: Mapping[str, Any], keep_last: bool) -> Iterator[int | str]:
    """The parts of `loc` that the user wrote: not the fields that stand for a group of keys, nor the tags of unions."""
    node: Any = tree
    for number, part in enumerate(loc, start=1):
        in_list = isinstance(node, Sequence) and not isinstance(node, str) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
            yield part
        elif keep_last and number == len(loc):
            yield part


def _discriminator(context: Mapping[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _one_of(given: str, choices: str) -> str:
    """`choices` as pydantic lists them: `'a', 'b' or 'c'`."""
    words = [word.strip(" '") for word in choices.replace(" or ", ",").split(",")]
    return f"must be one of {', '.join(words)}{did_you_mean(given, words)}"


def _nearest_key(loc: Location, place: str, root: type[Section]) -> str:
    """A hint: the kinds that have the key, else the same key of another section, else a similar key."""
    asked, home = str(loc[-1]), place.rpartition(".")[0]
    if owners := _kinds_with(asked, loc, root):
        return f" for {loc[-2]}; it belongs to {', '.join(owners)}"
    if len(loc) == 1 and (others := [job for job, tree in JOBS.items() if asked in tree.root_class().model_fields]):
        return f"; it belongs to {', '.join(f'jobs/{job}.py' for job in others)}"
    keys = [(f"{name}.{key}", key) for name, section in _sections_of(root) for key in section.model_fields if key not in FLATTENED]
    hint = did_you_mean(asked, _keys_at(loc[:-1], root))
    same = [path for path, key in keys if key == asked and path != place]
    if same:
        return f" (did you mean '{same[0]}'?)"
    if hint or home:
        return hint
    near = difflib.get_close_matches(asked, [key for _, key in keys], n=1)
    return f" (did you mean '{next(path for path, key in keys if key in near)}'?)" if near else ""


def _kinds_with(asked: str, loc: Location, root: type[Section]) -> list[str]:
    """The members of a flattened union that have the key `asked`, where the location is that of another member."""
    if len(loc) < 3 or loc[-3] not in FLATTENED:
        return []
    members = _sections_at(loc[:-2], root)
    every = set.intersection(*(set(member.model_fields) for member in members))
    tag = next(name for name in every if len({str(member.model_fields[name].default) for member in members}) == len(members))
    return [str(member.model_fields[tag].default) for member in members if asked in member.model_fields]


def _keys_at(loc: Location, root: type[Section]) -> set[str]:
    """The keys allowed at the model's location `loc`, including those of the section around a flattened one."""
    keys = {key for section in _sections_at(loc, root) for key in section.model_fields}
    if around := next((loc[:-depth] for depth in (1, 2) if len(loc) >= depth and loc[-depth] in FLATTENED), None):
        keys |= {key for section in _sections_at(around, root) for key in section.model_fields}
    return keys - set(FLATTENED)


def _sections_at(loc: Location, root: type[Section]) -> list[type[Section]]:
    """The sections allowed at the model's location `loc`; tags of unions narrow them down."""
    here: list[type[Section]] = [root]
    for part in loc:
        fields = [section.model_fields[part] for section in here if part in section.model_fields] if isinstance(part, str) else []
        if fields:
            here = [section for field in fields for section in sections_in(field.annotation)]
        elif isinstance(part, str):
            here = [section for section in here if part in (field.default for field in section.model_fields.values())] or here
    return here


def _sections_of(root: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """The sections of the tree by their names; the kinds of a flattened one go by the name of the section around it."""
    for name, field in root.model_fields.items():
        for section in sections_in(field.annotation):
            yield name, section
            for flat in FLATTENED:
                if flat in section.model_fields:
                    yield from ((name, kind) for kind in sections_in(section.model_fields[flat].annotation))


def sections_in(annotation: Any) -> list[type[Section]]:
    """The section classes in a type such as `tuple[A | B, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]
