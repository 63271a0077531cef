"""The embedded labelled rows: docstrings by package, the same everywhere for one Python, and no paragraph twice."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from masklab.errors import DataError
from masklab.text.sources.origin import Example
from masklab.text.sources.python_packages import PACKAGES, PythonPackages, packages


@pytest.fixture(scope="module")
def rows() -> list[Example]:
    return list(PythonPackages().examples())


def test_ten_packages_give_enough_rows_each(rows: list[Example]) -> None:
    counts = Counter(row.label for row in rows)
    assert len(counts) == PACKAGES
    assert min(counts.values()) >= 50
    assert len(rows) > 1000
    assert set(counts) <= sys.stdlib_module_names
    if sys.version_info[:2] == (3, 11):
        assert sorted(counts) == sorted(
            ["asyncio", "email", "http", "importlib", "inspect", "logging", "multiprocessing", "tarfile", "unittest", "xml"]
        )


def test_no_paragraph_stands_in_two_rows(rows: list[Example]) -> None:
    blocks = [block for row in rows for block in row.text.split("\n\n")]
    assert len(blocks) == len(set(blocks))


def test_the_largest_packages_are_taken_and_private_ones_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    sentence = "This sentence says with number {} what is done here."
    for module, count in {"json/decoder": 3, "glob": 2, "_pyio": 9}.items():
        file = tmp_path / f"{module}.py"
        file.parent.mkdir(exist_ok=True)
        body = "\n".join(f'def f{i}():\n    """{sentence.format(f"{module} {i}")}"""' for i in range(count))
        file.write_text(body + "\nraise SystemExit('imported')\n", encoding="utf-8")
    assert {name: len(found) for name, found in packages(tmp_path).items()} == {"json": 3, "glob": 2}
    assert [row.label for row in PythonPackages().examples()] == ["json"] * 3 + ["glob"] * 2
    assert PythonPackages().state() == PythonPackages().state()


def test_a_python_without_its_sources_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match=r"no readable standard library; use dataset=labelled dataset\.path=FILE"):
        list(PythonPackages().examples())
