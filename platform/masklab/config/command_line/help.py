"""The text of `--help`: usage, groups with their files, examples, and every key with its default and its line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from masklab.config.jobs.registry import FLATTENED, FOLDERS, TRAIN, JobTree

PACKAGE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Declaration:
    """A name at the top of a module of masklab: a class, or an alias such as `Annotated[A | B, ...]`."""

    source: Path
    name: str

    @classmethod
    def of(cls, module: str, name: str) -> Self | None:
        """The declaration of `name` as `module`, e.g. `masklab.schema`, sees it: its own, or imported. None outside masklab."""
        source = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
        if name in _top(source):
            return cls(source, name)
        origin = _imports(source).get(name, "")
        return cls.of(origin, name) if origin.startswith("masklab.") else None

    def see(self, name: str) -> Declaration | None:
        """What `name` means beside this declaration."""
        return Declaration.of(".".join(self.source.relative_to(PACKAGE.parent).with_suffix("").parts), name)

    def sections(self) -> list[Declaration]:
        """The class itself, or the classes of the union that an alias stands for."""
        node = _top(self.source)[self.name]
        if isinstance(node, ast.ClassDef):
            return [self]
        found = [self.see(name) for name in _names(node.value)]
        return [section for declaration in found if declaration for section in declaration.sections()]

    def fields(self) -> list[Key]:
        """The fields of the class, those of its bases first, in the order that pydantic has."""
        node = _top(self.source)[self.name]
        assert isinstance(node, ast.ClassDef)
        bases = [self.see(base.id) for base in node.bases if isinstance(base, ast.Name)]
        inherited = {key.name: key for base in reversed(bases) if base for key in base.fields()}
        return list((inherited | {key.name: key for key in _own(self, node)}).values())


@dataclass(frozen=True)
class Key:
    """A field: its annotation, default (None for a field that has none), and line of documentation."""

    name: str
    annotation: ast.expr
    value: ast.expr | None
    text: str
    owner: Declaration

    def sections(self) -> list[Declaration]:
        """The section classes that the annotation names."""
        found = [self.owner.see(name) for name in _names(self.annotation)]
        return [section for declaration in found if declaration for section in declaration.sections() if section.fields()]

    @property
    def default(self) -> str:
        """As YAML has it; `(required)` where there is none."""
        value = self.value
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id != "Field":
            return value.func.id.lower()  # a section of a union, by its kind
        if isinstance(value, ast.Call):
            value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
        if value is None:
            return "(required)"
        text = ast.unparse(value)
        if isinstance(value, ast.Tuple):
            return f"[{text.strip('(),').replace(' ', '')}]"
        return {"None": "null", "True": "true", "False": "false"}.get(text, text.strip("'") or "''")

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that a Literal allows."""
        text = ast.unparse(self.annotation)
        if not text.startswith("Literal["):
            return ()
        return tuple(text.removeprefix("Literal[").partition("]")[0].replace("'", "").split(", "))


def _names(node: ast.expr) -> list[str]:
    """The names in an expression, in the order of the text."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
    return [part.id for part in sorted(names, key=lambda part: (part.lineno, part.col_offset))]


def _own(owner: Declaration, node: ast.ClassDef) -> Iterator[Key]:
    for statement, below in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if "ClassVar" in ast.unparse(statement.annotation):
                continue
            line = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            yield Key(statement.target.id, statement.annotation, statement.value, " ".join(str(line).split()), owner)


@cache
def _body(source: Path) -> list[ast.stmt]:
    return ast.parse(source.read_text(encoding="utf-8")).body if source.is_file() else []


@cache
def _top(source: Path) -> dict[str, ast.ClassDef | ast.Assign]:
    """Classes and aliases at the top of a file, by name."""
    classes: dict[str, ast.ClassDef | ast.Assign] = {node.name: node for node in _body(source) if isinstance(node, ast.ClassDef)}
    aliases = {
        target.id: node for node in _body(source) if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)
    }
    return classes | aliases


@cache
def _imports(source: Path) -> dict[str, str]:
    """The module that each imported name comes from."""
    return {
        alias.asname or alias.name: node.module
        for node in _body(source)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


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
