"""Reads the assignments of a Python file with `ast`. Nothing is run or imported: an expression that is not a literal has no value."""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masklab.errors import ConfigError

LARGEST_FILE = 1 << 20
"""Bytes."""
LARGEST_INTEGER = 2**63
"""Also of every intermediate result, so that no arithmetic takes long."""
MOST_VALUES = 20_000
"""Numbers and strings in one value, those of the names in it included: names of names double at every line."""
DEEPEST = 40
"""Levels of brackets and operators, those of the names in a value included."""
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}


class _NotLiteralError(Exception):
    """Why an expression has no value."""


@dataclass
class Assignments:
    """`values` of names, the last of each; `unread` names with the reason; `statements` that are not assignments, by their lines."""

    values: dict[str, Any] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    statements: list[int] = field(default_factory=list)

    def assign(self, name: str, expression: ast.expr) -> None:
        """Give `name` the value of `expression`, or the reason that it has none."""
        try:
            value = self._value(expression)
            _check(value)
        except _NotLiteralError as reason:
            self.forget(name, f"{reason}; only literals are read, and nothing is run")
        else:
            self.values[name] = value
            self.unread.pop(name, None)

    def forget(self, name: str, reason: str) -> None:
        self.values.pop(name, None)
        self.unread[name] = reason

    def _value(self, node: ast.expr | None, depth: int = 0) -> Any:
        if depth > DEEPEST:
            raise _NotLiteralError(f"is nested more than {DEEPEST} deep")
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                return _bounded(value)
            case ast.Name(id=name):
                if name not in self.values:
                    raise _NotLiteralError(f"names {name!r}, which has no value here")
                return self.values[name]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item, depth + 1) for item in items]
            case ast.Dict(keys=keys, values=values) if all(isinstance(k, ast.Constant) and isinstance(k.value, str) for k in keys):
                return {self._value(key): self._value(item, depth + 1) for key, item in zip(keys, values, strict=True)}
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
                number = _number(self._value(operand, depth + 1))
                return -number if isinstance(sign, ast.USub) else number
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in ARITHMETIC:
                return _result(operation, _number(self._value(left, depth + 1)), _number(self._value(right, depth + 1)))
        raise _NotLiteralError("is not a literal")


def _check(value: Any, depth: int = 0, count: int = 0) -> int:
    """Return `count` plus the numbers and strings in `value`.

    Raises _NotLiteralError beyond MOST_VALUES or DEEPEST, and for infinity and nan, which only a step of arithmetic may give.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise _NotLiteralError("is not a number that a configuration can hold")
    items = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in items:
        count = _check(item, depth + 1, count)
    count += not items
    if count > MOST_VALUES or depth > DEEPEST:
        raise _NotLiteralError(f"is made of more than {MOST_VALUES:,} values, or nested more than {DEEPEST} deep")
    return count


def _result(operation: ast.operator, left: float, right: float) -> Any:
    """One step of arithmetic. The size of a power is estimated first, since it has no bound."""
    try:
        if isinstance(operation, ast.Pow) and abs(left) > 1 and right * math.log2(abs(left)) > 1024:
            raise OverflowError
        return _bounded(ARITHMETIC[type(operation)](left, right))
    except (ArithmeticError, ValueError) as error:
        raise _NotLiteralError("is arithmetic without a usable result") from error


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _NotLiteralError("is arithmetic on a value that is not a number")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, complex) or (isinstance(value, int) and abs(value) > LARGEST_INTEGER):
        raise _NotLiteralError("is not a number that a configuration can hold")
    return value


def read_assignments(file: Path) -> Assignments:
    """The assignments at the top level of `file`. Raises ConfigError if it is not Python text."""
    found = Assignments()
    for statement in _parsed(file).body:
        match statement:
            case ast.Assign(targets=targets) if all(isinstance(target, ast.Name) for target in targets):
                for target in ast.walk(ast.Tuple([*targets])):
                    if isinstance(target, ast.Name):
                        found.assign(target.id, statement.value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.assign(name, value)
            case ast.AugAssign(target=ast.Name(id=name)):
                found.assign(name, ast.BinOp(ast.Name(name, ast.Load()), statement.op, statement.value))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case _:
                found.statements.append(statement.lineno)
                for name in _changed(statement, found.values):
                    found.forget(name, f"line {statement.lineno} may change it, and statements other than assignments are not run")
    return found


def _parsed(file: Path) -> ast.Module:
    if not file.is_file():
        raise ConfigError(f"{str(file)!r}: {'not a plain file' if file.exists() else 'no such file'}; give a Python file of assignments")
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{str(file)!r}: has more than {LARGEST_FILE:,} bytes, too many for a configuration")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the file's own text
            return ast.parse(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{str(file)!r}: cannot be read ({error.strerror})") from error
    except SyntaxError as error:
        raise ConfigError(f"{str(file)!r}: line {error.lineno} is not Python ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:  # other encodings, null bytes, nesting beyond the parser
        raise ConfigError(f"{str(file)!r}: is not readable as Python text ({type(error).__name__})") from error


def _changed(statement: ast.stmt, known: Mapping[str, Any]) -> Iterator[str]:
    """The names that a statement may assign, and the `known` ones that it may change, as `stages.append(...)` does."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield from {statement.name} & known.keys()  # names within are its own
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.value, ast.Name):
            yield from {node.value.id} & known.keys()
        elif isinstance(node, ast.alias):
            yield from {(node.asname or node.name).partition(".")[0]} & known.keys()
