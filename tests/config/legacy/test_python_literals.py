"""Assignments are read and never run: whatever a file holds, its literals come out, and one line for what is wrong."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklab.config.legacy.python_literals import DEEPEST, MOST_VALUES, Assignments, read_assignments
from masklab.errors import ConfigError


def assignments(folder: Path, text: str) -> Assignments:
    file = folder / "older.py"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return read_assignments(file)


literals = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=literals)
def test_a_literal_is_read_as_literal_eval_reads_it(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "literal.py"
    text = ascii(value)
    file.write_text(f"x = {text}\n", encoding="utf-8")
    found = read_assignments(file).values["x"]
    assert found == ast.literal_eval(text)
    assert type(found) is type(value)


numbers = st.integers(-20, 20).map(str) | st.floats(-1e3, 1e3).map(repr)
sums = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//"]), inner).map(lambda t: f"({''.join(t)})"),
    max_leaves=6,
)


@given(text=sums)
def test_arithmetic_gives_what_python_gives_or_nothing(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "sum.py"
    file.write_text(f"x = {text}\n", encoding="utf-8")
    found = read_assignments(file)
    try:
        expected = eval(text)  # of digits and signs only
    except ZeroDivisionError:
        assert "x" in found.unread
    else:
        is_large_or_nan = not abs(expected) <= 2**63
        assert found.values == {"x": expected} or (is_large_or_nan and "x" in found.unread)


def test_names_stand_for_earlier_values_and_the_last_assignment_counts(tmp_path: Path) -> None:
    found = assignments(
        tmp_path,
        """
        '''What it is.'''
        max_iters: int = 5 * 10**3
        lr_decay_iters = max_iters
        a = b = -2 ** 2
        batch_size = 12
        batch_size *= 4
        stages = [{'r': a}, {'r': batch_size}]
        max_iters = 7
        """,
    )
    assert found.values == {"max_iters": 7, "lr_decay_iters": 5000, "a": -4, "b": -4, "batch_size": 48, "stages": [{"r": -4}, {"r": 48}]}
    assert not found.unread
    assert not found.statements


HOSTILE = {
    "a call": "x = __import__('os').system('touch {canary}')",
    "open": "x = open('{canary}', 'w')",
    "an attribute": "x = __import__('pathlib').Path('{canary}').touch",
    "an f-string": "x = f\"{{open('{canary}', 'w')}}\"",
    "a comprehension": "x = [open('{canary}', 'w') for _ in range(10**12)]",
    "a generator": "x = sum(i for i in range(10**12))",
    "a walrus": "x = (y := open('{canary}', 'w'))",
    "a condition": "x = 1 if open('{canary}', 'w') else 2",
    "a lambda": "x = lambda: 1",
    "a loop": "for x in [open('{canary}', 'w')]: pass",
    "exec": 'x = exec(\'open("{canary}", "w")\')',
    "a subscript": "x = [1][open('{canary}', 'w')]",
    "a spread": "x = {{**{{'a': 1}}}}",
    "an annotation": "x: open('{canary}', 'w') = len('a')",
    "bytes": "x = b'abc'",
    "a set": "x = {{1, 2}}",
    "a large power": "x = 10 ** 10 ** 10",
    "a large power by parts": "x = (10 ** 18) ** 10**9",
    "a power of a fraction": "x = 1.5 ** 10**9",
    "a complex power": "x = (-8) ** 0.5",
    "a division by zero": "x = 1 / 0",
    "a repeated text": "x = 'a' * 10**10",
    "a repeated list": "x = [0] * 10**10",
    "a long integer": "x = 0x" + "f" * 10_000,
    "infinity": "x = 1e999",
    "an unknown name": "x = y",
    "itself": "x = [x]",
    "a long sum": "x = " + "+".join(["1"] * (DEEPEST + 2)),
    "many brackets": "x = " + "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.timeout(10)
def test_what_is_no_literal_has_a_reason_and_is_not_run(text: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    found = assignments(tmp_path, "kept = 1\n" + text.format(canary=canary))
    assert not canary.exists()
    assert found.values == {"kept": 1}
    assert list(found.unread) == ["x"]


def test_the_canary_of_these_tests_does_sing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    exec(HOSTILE["open"].format(canary=canary))
    assert canary.exists()


@pytest.mark.timeout(10)
def test_names_that_double_at_every_line_stay_small(tmp_path: Path) -> None:
    lines = ["a0 = [1, 1]", *(f"a{i} = [a{i - 1}, a{i - 1}]" for i in range(1, 60))]
    found = assignments(tmp_path, "\n".join(lines))
    assert "a10" in found.values
    assert "a59" in found.unread
    assert 2 ** (len(found.values) + 1) >= MOST_VALUES


def test_other_statements_are_told_by_line_and_unsettle_what_they_may_change(tmp_path: Path) -> None:
    found = assignments(
        tmp_path,
        """\
        import time
        stages, n, m, kept = [], 1, 2, 3
        stages = []
        n = 1
        m = 2
        stages.append({'type': 'sticky'})
        if time.time() > 0:
            n = 5
        del m
        print(n)
        """,
    )
    assert found.statements == [1, 2, 6, 7, 9, 10]
    assert not found.values
    assert set(found.unread) == {"stages", "n", "m", "kept"}
    assert "line 6 may change it" in found.unread["stages"]


def test_definitions_are_not_run_and_what_they_name_within_is_their_own(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    found = assignments(
        tmp_path,
        f"""\
        n = 1
        replaced = 2
        @open('{canary}', 'w').write
        class x:
            n = open('{canary}', 'w')
        def replaced(a=open('{canary}', 'w')):
            n = 5
        """,
    )
    assert not canary.exists()
    assert found.values == {"n": 1}
    assert list(found.unread) == ["replaced"]
    assert len(found.statements) == 2


UNREADABLE = {
    "no Python": (b"x = = 1\n", "line 1 is not Python"),
    "an unfinished bracket": (b"a = 1\nx = [1,\n", "is not Python"),
    "YAML": (b"batch_size: 12\n  n: [\n", "is not Python"),
    "not UTF-8": (b"x = '\xff\xfe'\n", "is not readable as Python text"),
    "another encoding": ("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), "is not readable as Python text"),
    "a null byte": (b"x = 1\0", "is not Python"),
    "deep brackets": (b"x = " + b"(" * 5_000, "is not Python"),
    "a chain of signs": (b"x = " + b"-" * 100_000 + b"1", "is not readable as Python text"),
    "a long chain": (b"x = " + b"+".join([b"1"] * 60_000), "is not readable as Python text"),
    "many digits": (b"x = " + b"9" * 100_000, "is not Python"),
    "a large file": (b"#" * (1 << 20) + b"\n", "too many for a configuration"),
}


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.timeout(20)
def test_what_is_no_python_text_is_one_error(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "older.py"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        read_assignments(file)
    assert "\n" not in str(error.value)


def test_only_a_plain_file_is_read(tmp_path: Path) -> None:
    for place, message in ((tmp_path, "not a plain file"), (tmp_path / "none.py", "no such file"), (Path("/dev/zero"), "not a plain file")):
        with pytest.raises(ConfigError, match=message):
            read_assignments(place)
