"""The closed list of named points is that of the code."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from masklab.failpoints import NAMES, failpoint, listening


def called(root: Path) -> Counter[str]:
    """The points that the code passes, and in how many places."""
    found: Counter[str] = Counter()
    for file in (root / "platform" / "masklab").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                (argument,) = node.args
                assert isinstance(argument, ast.Constant), f"{file}: a name that cannot be read here"
                found[argument.value] += 1
    return found


def test_each_name_is_passed_somewhere_and_no_other_is(root: Path) -> None:
    assert called(root).keys() == set(NAMES)
    assert len(NAMES) == len(set(NAMES))


def test_a_listener_is_told_while_it_listens() -> None:
    heard: list[str] = []
    failpoint("step.begun")
    with listening(heard.append):
        failpoint("step.taken")
        with listening(lambda name: None):
            failpoint("log.read")
        failpoint("log.begun")
    failpoint("step.begun")
    assert heard == ["step.taken", "log.begun"]
