"""What is wrong with a configuration, in the user's words: the key as it was written, its value, what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from masklab.errors import did_you_mean
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


def explain(error: ValidationError, tree: Mapping[str, Any], root: type[Section]) -> str:
    """All problems of `tree`, which failed to make a `root`, on one line."""
    # a list whose items are all wrong counts as empty too, which helps nobody
    details = [d for d in error.errors(include_url=False) if not (d["type"] == "too_short" and d["input"])]
    lines = dict.fromkeys(_line(detail, tree, root) for detail in details)
    return "; ".join(lines)


def _line(detail: ErrorDetails, tree: Mapping[str, Any], root: type[Section]) -> str:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    place = ".".join(str(part) for part in written_location(detail["loc"], tree, keep_last=kind == "missing"))
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


def shown(value: Any) -> str:
    """A scalar as YAML has it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


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
    """The same key of another section, else a near key of its own, else of any section for a key that stands in none."""
    asked = str(loc[-1])
    keys = [(f"{name}.{key}", key) for name, section in _sections_of(root) for key in section.model_fields]
    same = [path for path, key in keys if key == asked]
    if same:
        return f" (did you mean '{same[0]}'?)"
    hint = did_you_mean(asked, _keys_at(loc[:-1], root))
    if hint or "." in place:
        return hint
    near = difflib.get_close_matches(asked, [key for _, key in keys], n=1)
    return f" (did you mean '{next(path for path, key in keys if key in near)}'?)" if near else ""


def _keys_at(loc: Location, root: type[Section]) -> set[str]:
    """The keys that may stand at the model's own location `loc`."""
    here: list[type[Section]] = [root]
    keys = set(root.model_fields)
    for part in loc:
        if isinstance(part, int):
            continue
        fields = [section.model_fields[part] for section in here if part in section.model_fields]
        if fields:
            flat = part == "masking"  # its keys stand beside those of the stage that has it
            here = [section for field in fields for section in sections_in(field.annotation)]
            keys = (keys - {part} if flat else set()) | {key for section in here for key in section.model_fields}
        else:
            own = {key for section in here for key in section.model_fields}
            here = [section for section in here if part in (field.default for field in section.model_fields.values())] or here
            keys = (keys - own) | {key for section in here for key in section.model_fields}
    return keys


def _sections_of(root: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    for name, field in root.model_fields.items():
        for section in sections_in(field.annotation):
            yield name, section


def sections_in(annotation: Any) -> list[type[Section]]:
    """The section classes in a type such as `tuple[A | B, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]
