"""The text of `--help`: usage, groups with their files, examples, and every key with its default and its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from masklab.config.command_line.declaration import Declaration, Key
from masklab.config.jobs.flattened import FLATTENED
from masklab.config.jobs.registry import FOLDERS, TRAIN, JobTree

Line = tuple[str, str, str]
"""A key by its whole name, its default, and what is said of it."""


def manual(job: str, description: str, root: Path, tree: JobTree = TRAIN) -> str:
    """The help of a job of the project `root`."""
    files = {group: sorted(file.stem for file in (root / FOLDERS[group]).glob("*.yaml")) for group in tree.groups}
    group = "[GROUP=NAME ...] " if tree.groups else ""
    lines = [
        f"usage: python jobs/{job}.py {group}[SECTION.KEY=VALUE ...] [--cfg job] [--help]",
        "",
        description,
        "",
        "  --cfg job   print the resolved configuration and stop",
        "  --help      print this text and stop",
        "",
    ]
    if tree.groups:
        lines += ["Groups (a file each; the keys of a file can be overridden):"]
        lines += [*(f"  {group + '=':<12} {', '.join(names)}" for group, names in files.items()), ""]
    lines += ["Examples:", *(f"  python jobs/{job}.py {example}".rstrip() for example in tree.examples), ""]
    if tree.shorthands:
        lines += ["Other names:", *(f"  {short + '=':<12} means {whole}=" for short, whole in tree.shorthands.items()), ""]
    if tree.inherited:
        lines += [f"From the run that checkpoint= names, unless given: {', '.join(tree.inherited)}.", ""]
    lines.append("Keys (the chosen files may set other values than these defaults):" if tree.groups else "Keys:")
    for block in blocks(tree):
        lines += ["", *(f"  {key:<38} {default:<14} {text}".rstrip() for key, default, text in block)]
    return "\n".join([*lines, ""])


def blocks(tree: JobTree) -> Iterator[list[Line]]:
    """The lines of the keys that stand at the top, then those of each section."""
    root = Declaration.of(f"masklab.config.jobs.{tree.module}", tree.root)
    assert root, f"no class {tree.root} in masklab.config.{tree.module}"
    sections = {key.name: found for key in root.fields() if (found := key.sections())}
    if alone := [_line("", key) for key in root.fields() if key.name not in sections]:
        yield alone
    for name, found in sections.items():
        yield [line for section in found for line in _lines(f"{name}.", section)]


def _lines(prefix: str, section: Declaration) -> Iterator[Line]:
    for key in section.fields():
        if key.name in FLATTENED:
            yield from _flattened(prefix, key)
        else:
            yield _line(prefix, key)


def _line(prefix: str, key: Key) -> Line:
    choices = f" ({' | '.join(key.choices)})" if key.choices else ""
    return prefix + key.name, key.default, f"{key.text}{choices}"


def _flattened(prefix: str, field: Key) -> Iterator[Line]:
    """The key that names the kind, with all the kinds, then the keys of each kind after its name; those that agree, once."""
    kinds = {section: _kind(section) for section in field.sections()}
    tags = {kind.name for kind in kinds.values()}
    yield prefix + " or ".join(tags), _default_kind(field, kinds), f"{field.text} ({' | '.join(kind.default for kind in kinds.values())})"
    shared: dict[Line, list[str]] = {}
    for section, kind in kinds.items():
        for key in section.fields():
            if key.name not in tags:
                shared.setdefault(_line(prefix, key), []).append(kind.default)
    for (name, default, text), owners in shared.items():
        yield name, default, f"{', '.join(owners)}: {text}"


def _kind(section: Declaration) -> Key:
    """The key that tells this member of a union from the others."""
    return next(key for key in section.fields() if len(key.choices) == 1)


def _default_kind(field: Key, kinds: dict[Declaration, Key]) -> str:
    return next(kind.default for section, kind in kinds.items() if section.name.lower() == field.default)
