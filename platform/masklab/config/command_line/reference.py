"""Generates the reference of all configuration keys from the sections' classes: `make reference` regenerates it.

It is written twice: `reference.json` in this folder, which `--help` prints without importing any section, and `docs/config.md`.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from masklab.config.command_line.main import REQUIRED, default_in
from masklab.config.compose.validation_messages import sections_in
from masklab.config.jobs.registry import FLATTENED, JOBS, PREPARE, REFERENCE, JobTree
from masklab.schema import Section

PROJECT = Path(__file__).resolve().parents[4]
TREES = {**JOBS, "prepare": PREPARE}
TYPES = {int: "int", float: "float", str: "text", bool: "bool"}
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
INTRODUCTION = """\
# Configuration keys

This page lists every key of every job, by section, with the jobs that have it in brackets (`benchmark` has those of `train`).
`make reference` generates it from the code, and `python jobs/JOB.py --help` prints the keys of one job that have an effect there. A key
is given as `SECTION.KEY=VALUE` on the command line, or in a YAML file of its group. `null` means that the key is not given. The
defaults of `jobs/conf/config.yaml` name a file for each group, which sets the keys marked `(from the group's file)`.
"""


class Key(NamedTuple):
    """A configuration key without its section's name: its type, its default as YAML has it, and its line of help.

    `condition` names the kinds that have the key, as `type=token_labeller`; it is empty for a key of all kinds.
    """

    name: str
    type: str
    default: str
    text: str
    condition: str = ""


@dataclass(frozen=True)
class Block:
    """The keys of a section, which is one of `kinds`; with several kinds, `field` holds the section and has the default kind."""

    kinds: tuple[type[Section], ...]
    field: FieldInfo | None = None
    skipped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(kind.__name__ for kind in self.kinds)

    def lines(self) -> Iterator[Key]:
        """All keys. Of several kinds: the key that names the kind, the keys of all kinds, then those of some, kind by kind."""
        if len(self.kinds) == 1:
            of_some: list[Key] = []
            for name, field in self.kinds[0].model_fields.items():
                if name in FLATTENED:
                    flat = list(Block(tuple(sections_in(field.annotation)), field).lines())
                    yield from (key for key in flat if not key.condition)
                    of_some += [key for key in flat if key.condition]
                elif name not in self.skipped:
                    yield _key(name, field)
            yield from of_some
            return
        tags = {kind: tag_of(kind) for kind in self.kinds}
        name = next(iter(tags.values()))[0]
        own = _key(name, self.kinds[0].model_fields[name])
        help_line = self.field.description if self.field and name == "strategy" else own.text
        default = tag_of(type(self.field.default))[1] if self.field and isinstance(self.field.default, Section) else REQUIRED
        yield Key(name, " | ".join(tag for _, tag in tags.values()), default, _one_line(help_line))
        shared: dict[Key, list[str]] = {}
        for kind, (tag_key, tag) in tags.items():
            for key_name, field in kind.model_fields.items():
                if key_name != tag_key:
                    shared.setdefault(_key(key_name, field), []).append(tag)
        yield from (key for key, owners in shared.items() if len(owners) == len(tags))
        partial = {key: f"{name}={' or '.join(owners)}" for key, owners in shared.items() if len(owners) < len(tags)}
        for condition in dict.fromkeys(partial.values()):
            yield from (key._replace(condition=condition) for key, own in partial.items() if own == condition)

    def nested(self) -> Iterator[tuple[str, Block]]:
        """The blocks of the sections within this one, by the key that holds them; the items of a list by `KEY.N`."""
        seen: set[str] = set()
        fields = [(name, field) for kind in self.kinds for name, field in kind.model_fields.items() if name not in self.skipped]
        for name, field in fields:
            kinds = tuple(sections_in(field.annotation))
            block = Block(kinds, field)
            if name in FLATTENED:
                yield from block.nested()
            elif kinds and block.name not in seen:
                seen.add(block.name)
                yield f"{name}.N" if "list of" in _type(field.annotation) else name, block


def tag_of(kind: type[Section]) -> tuple[str, str]:
    """The key that tells a kind of a union from the others, and its value for this kind."""
    return next((name, str(f.default)) for name, f in kind.model_fields.items() if _type(f.annotation) == str(f.default))


def job_blocks(root: type[Section]) -> Iterator[tuple[str, Block]]:
    """The blocks of a job by the names of their sections; the keys outside of sections first, under no name."""
    sections = {name: kinds for name, field in root.model_fields.items() if (kinds := tuple(sections_in(field.annotation)))}
    if len(sections) < len(root.model_fields):
        yield "", Block((root,), skipped=tuple(sections))
    for name, kinds in sections.items():
        yield name, Block(kinds, root.model_fields[name])


def reference() -> dict[str, Any]:
    """The content of `reference.json`: for each job the names of its sections and their blocks, and the keys of each block."""
    jobs = {tree.module: [(name, block) for name, block in job_blocks(tree.root_class())] for tree in TREES.values()}
    keys = {block.name: [list(key) for key in block.lines()] for blocks in jobs.values() for _, block in blocks}
    return {"jobs": {job: [[name, block.name] for name, block in blocks] for job, blocks in jobs.items()}, "blocks": keys}


def page() -> str:
    """The text of `docs/config.md`."""
    users: dict[tuple[str, str], list[str]] = {}
    found: dict[tuple[str, str], Block] = {}
    for job, tree in TREES.items():
        for name, block in job_blocks(tree.root_class()):
            users.setdefault((name, block.name), []).append(job)
            found[name, block.name] = block
    parts = [INTRODUCTION]
    places: dict[str, str] = {}
    for (name, block_name), jobs in users.items():
        parts += [f"## {f'`{name}`' if name else 'Keys outside of sections'} ({', '.join(jobs)})"]
        parts += _tables(name, found[name, block_name], places, 3, TREES[jobs[0]])
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _tables(place: str, block: Block, places: dict[str, str], level: int, tree: JobTree) -> Iterator[str]:
    """The table of a section, then those of the sections within it, under headings of `level`. `places` has the sections up to now."""
    prefix = f"{place}." if place else ""
    rows = [
        (
            f"`{prefix}{key.name}`",
            key.type,
            f"`{default_in(tree, place, key.default)}`",
            f"With `{key.condition}`: " * bool(key.condition) + key.text,
        )
        for key in block.lines()
    ]
    cells = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    yield "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *(f"| {row} |" for row in cells)])
    for name, inner in block.nested():
        yield f"{'#' * level} `{prefix}{name}`"
        if inner.name in places:
            yield f"The keys of `{places[inner.name]}`."
        else:
            places[inner.name] = prefix + name
            yield from _tables(prefix + name, inner, places, level + 1, tree)


def _key(name: str, field: FieldInfo) -> Key:
    return Key(name, _type(field.annotation, field.metadata), _default(field), _one_line(field.description))


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return REQUIRED
    if isinstance(value, Section):
        return (
            tag_of(type(value))[1] if any(len(get_args(f.annotation)) == 1 for f in type(value).model_fields.values()) else "(its defaults)"
        )
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return "''" if value == "" else json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """The type in a user's words, with the bounds in `metadata`: `int >= 1 or null`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is Annotated:
        return _type(arguments[0], metadata)
    if origin in (Union, types.UnionType):
        kinds = sections_in(annotation)
        words = [" | ".join(tag_of(kind)[1] for kind in kinds)] if len(kinds) > 1 else []
        words += [_type(part, metadata) for part in arguments if part is not type(None) and not (words and sections_in(part))]
        return " or ".join(dict.fromkeys([*words, *(["null"] if type(None) in arguments else [])]))
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    limits = [(sign, getattr(data, word, None)) for data in metadata for word, sign in BOUNDS.items()]
    bounds = [f"{sign} {bound:,}" for sign, bound in limits if bound is not None and bound < 2**63]
    limit = " and ".join(bounds) if annotation in (int, float) else ""
    return f"{TYPES.get(annotation, 'mapping')} {limit}".strip()


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def files() -> dict[Path, str]:
    """The generated files and their texts."""
    content = reference()
    jobs = ",\n".join(f"{json.dumps(job)}: {json.dumps(sections)}" for job, sections in content["jobs"].items())
    blocks = ",\n".join(f"{json.dumps(name)}: [\n{_json_lines(keys)}]" for name, keys in content["blocks"].items())
    return {REFERENCE: f'{{"jobs": {{\n{jobs}}},\n"blocks": {{\n{blocks}}}}}\n', PROJECT / "docs/config.md": page()}


def _json_lines(keys: Sequence[Sequence[str]]) -> str:
    return ",\n".join(json.dumps(key, ensure_ascii=False) for key in keys)


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
