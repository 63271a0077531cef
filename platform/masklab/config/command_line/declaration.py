"""Sections as their source declares them, read by `ast`: nothing is imported, so that help comes at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

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
