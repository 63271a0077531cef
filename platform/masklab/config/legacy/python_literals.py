"""The assignments of a Python file, read by `ast`. Nothing is run or imported: an expression that is no literal has no value here."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masklab.errors import ConfigError

LARGEST_FILE = 1 << 20
"""Bytes."""
LARGEST_INTEGER = 2**63
"""Also of every result on the way, so that no arithmetic takes long."""
MOST_VALUES = 20_000
"""Numbers and strings in one value, those of the names in it included: names of names double at every line."""
DEEPEST = 40
"""Levels of brackets and operators."""
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
NOT_LITERAL = {
    ast.Call: "a call",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Lambda: "a function",
    ast.Attribute: "an attribute",
    ast.Subscript: "an item of something",
    ast.IfExp: "a condition",
}


class _NoLiteralError(Exception):
    """Why an expression has no value here."""


@dataclass
class Assignments:
    """`values` of names, the last of each; `unread` names with the reason; `statements` that are no assignment, by their lines."""

    values: dict[str, Any] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    statements: list[int] = field(default_factory=list)
    _sizes: dict[str, int] = field(default_factory=dict)

    def assign(self, name: str, expression: ast.expr) -> None:
        """Give `name` the value of `expression`, or the reason that it has none."""
        folding = _Folding(self.values, self._sizes)
        try:
            self.values[name] = folding.value(expression)
            self._sizes[name] = folding.size
            self.unread.pop(name, None)
        except _NoLiteralError as reason:
            self.forget(name, f"{reason}; only literals are read, and nothing is run")

    def forget(self, name: str, reason: str) -> None:
        """Leave `name` without a value."""
        self.values.pop(name, None)
        self.unread[name] = reason


def read_assignments(file: Path) -> Assignments:
    """The assignments at the top of `file`. Raises ConfigError when it is no Python text."""
    found = Assignments()
    for statement in _parsed(file).body:
        match statement:
            case ast.Assign(targets=targets) if all(isinstance(target, ast.Name) for target in targets):
                for target in targets:
                    assert isinstance(target, ast.Name)
                    found.assign(target.id, statement.value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.assign(name, value)
            case ast.AugAssign(target=ast.Name(id=name)):
                found.assign(name, ast.BinOp(ast.Name(name, ast.Load()), statement.op, statement.value))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                found.statements.append(statement.lineno)
                bound, touched = _changed(statement)
                for name in bound | (touched & found.values.keys()):
                    found.forget(name, f"line {statement.lineno} may change it, and statements other than assignments are not run")
    return found


def _parsed(file: Path) -> ast.Module:
    if not file.is_file():
        raise ConfigError(f"{str(file)!r}: {'is no plain file' if file.exists() else 'no such file'}; give a Python file of assignments")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{str(file)!r}: has more than {LARGEST_FILE:,} bytes, too many for a configuration")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file's own text
            return ast.parse(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{str(file)!r}: cannot be read ({error.strerror})") from error
    except SyntaxError as error:
        raise ConfigError(f"{str(file)!r}: line {error.lineno} is no Python ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:  # other encodings, null bytes, nesting beyond the parser
        raise ConfigError(f"{str(file)!r}: is no Python text that can be read ({type(error).__name__})") from error


def _changed(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """The names that a statement may give a value, and those that it may change in another way, as `stages.append(...)` does."""
    bound: set[str] = set()
    touched: set[str] = set()
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return bound, {statement.name}  # names within are its own
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name):
            touched.add(node.value.id)
        elif isinstance(node, ast.alias):
            touched.add((node.asname or node.name).partition(".")[0])
    return bound, touched


@dataclass
class _Folding:
    """The value of one expression, given those of earlier names, and how many numbers and strings it is made of."""

    names: dict[str, Any]
    sizes: dict[str, int]
    size: int = 0

    def value(self, node: ast.expr, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise _NoLiteralError(f"is nested more than {DEEPEST} deep")
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return self._counted(_bounded(value))
            case ast.Name(id=name) if name in self.names:
                return self._counted(self.names[name], self.sizes[name])
            case ast.Name(id=name):
                raise _NoLiteralError(f"names {name!r}, which has no value here")
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item, depth + 1) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {self._key(key): self.value(item, depth + 1) for key, item in zip(keys, values, strict=True)}
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                number = _number(self.value(operand, depth + 1))
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in ARITHMETIC:
                return _result(operation, _number(self.value(left, depth + 1)), _number(self.value(right, depth + 1)))
            case _:
                raise _NoLiteralError(f"is {NOT_LITERAL.get(type(node), 'no plain value')}")

    def _key(self, node: ast.expr | None) -> str:
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            raise _NoLiteralError("is a dictionary whose keys are not all plain text")
        return node.value

    def _counted(self, value: Any, size: int = 1) -> Any:
        self.size += size
        if self.size > MOST_VALUES:
            raise _NoLiteralError(f"is made of more than {MOST_VALUES:,} values")
        return value


def _result(operation: ast.operator, left: float, right: float) -> Any:
    """One step of arithmetic. The result of a power is estimated first, since it can be of any length."""
    try:
        if isinstance(operation, ast.Pow) and abs(left) > 1 and right * math.log2(abs(left)) > 1024:
            raise OverflowError
        return _bounded(ARITHMETIC[type(operation)](left, right))
    except (ArithmeticError, ValueError) as error:
        raise _NoLiteralError("is arithmetic without a result that can be used") from error


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NoLiteralError("is arithmetic on what is no number")
    return value


def _bounded(value: Any) -> Any:
    """`value`, unless it is a number that no configuration holds."""
    is_usable = abs(value) <= LARGEST_INTEGER if isinstance(value, int) else not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, complex) or not is_usable:
        raise _NoLiteralError("is no number that a configuration can hold")
    return value
