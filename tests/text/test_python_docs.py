"""The embedded text: clean, deterministic, the same in its last tenth as elsewhere, and read without importing anything."""

from __future__ import annotations

import ast
import hashlib
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.sources import python_docs as module
from masklab.text.sources.origin import Splits
from masklab.text.sources.python_docs import PythonDocs, docstrings, documents, is_prose, paragraphs, passages, plain_ascii, topics

PRINTABLE = set(string.digits + string.ascii_letters + string.punctuation + " \n")
STANDARD = sys.stdlib_module_names | {"masklab"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return PythonDocs().text(tmp_path_factory.mktemp("unused"))


@pytest.fixture(scope="module")
def splits(text: str, tmp_path_factory: pytest.TempPathFactory) -> Splits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PythonDocs, "text", lambda *_: text)
        return PythonDocs().splits(0.1, tmp_path_factory.mktemp("unused"))


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A standard library of one module, one package and one stranger."""
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    for name, body in {
        "json/__init__.py": '"""About the package of this name, in words."""\nraise SystemExit("imported")\n',
        "json/tests/test_x.py": '"""A test says nothing worth reading here."""\n',
        "glob.py": (
            'class A:\n  """A class that is documented in a sentence."""\n'
            '  async def f(self):\n    """A method of it, which has words too, enough."""\n'
        ),
        "site-packages/other.py": '"""Another package that is not part of Python."""\n',
        "string.py": "this is ( no Python",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(body, encoding="utf-8")
    return tmp_path


def test_the_text_is_between_one_and_two_and_a_half_megabytes_of_printable_ascii(text: str) -> None:
    assert 1.0e6 < len(text) < 2.5e6
    assert set(text) <= PRINTABLE
    assert len(set(text)) >= 90


def test_the_text_is_made_of_paragraphs_of_words(text: str) -> None:
    assert text.count("\n\n") > 5000
    assert "\n\n\n" not in text
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert sum(c.isalpha() or c.isspace() for c in text) > 0.9 * len(text)


def test_no_paragraph_stands_in_the_text_twice(text: str) -> None:
    blocks = text.strip().split("\n\n")
    assert len(blocks) == len(set(blocks))


def test_the_held_out_tenth_resembles_the_rest(splits: Splits) -> None:
    shares = [np.bincount(tokens, minlength=splits.vocabulary.size) / len(tokens) for tokens in (splits.train, splits.validation)]
    assert np.abs(shares[0] - shares[1]).sum() < 0.05
    surprise = -(shares[1] * np.log(np.maximum(shares[0], 1e-9))).sum() + (shares[1] * np.log(np.maximum(shares[1], 1e-9))).sum()
    assert surprise < 0.005


def test_the_text_is_the_same_in_another_process_that_imports_no_module_for_it(text: str) -> None:
    script = (
        "import sys, hashlib; sys.path.insert(0, 'platform')\n"
        "from pathlib import Path\n"
        "from masklab.text.sources.python_docs import PythonDocs\n"
        "before = set(sys.modules)\n"
        "text = PythonDocs().text(Path())\n"
        "assert not (set(sys.modules) - before) & {'pydoc_data', 'antigravity', 'pdb', 'mailbox', 'wave'}\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {"PYTHONHASHSEED": "1"}
    run = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == hashlib.sha256(text.encode()).hexdigest()


def test_docstrings_come_from_the_library_alone_and_nothing_is_run(library: Path) -> None:
    assert list(docstrings(library)) == [
        "A class that is documented in a sentence.",
        "A method of it, which has words too, enough.",
        "About the package of this name, in words.",
    ]


def test_topics_are_read_where_they_are_installed_and_missed_where_not(library: Path) -> None:
    without = PythonDocs().text(library)
    assert "documented in a sentence" in without
    file = library / "pydoc_data" / "topics.py"
    assert list(topics(file)) == []
    file.parent.mkdir()
    file.write_text(f"topics = { ({'b': 'The second of the topics is this one here.', 'a': 'The first.'})!r}\n", encoding="utf-8")
    assert list(topics(file)) == ["The first.", "The second of the topics is this one here."]
    assert set(PythonDocs().text(library).split("\n\n")) > {"The second of the topics is this one here."}


def test_a_python_without_its_sources_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match=r"no readable standard library; use dataset=text dataset\.path=FILE"):
        PythonDocs().text(tmp_path)


@settings(deadline=None)
@given(st.lists(st.text(max_size=120), max_size=8))
def test_any_documents_come_out_as_clean_paragraphs_each_once_in_an_order_of_their_own(raw: list[str]) -> None:
    made = documents(raw)
    assert all(set(document) <= PRINTABLE for document in made)
    blocks = [block for document in made for block in document.split("\n\n")]
    assert len(blocks) == len(set(blocks))
    assert documents(made) == made
    assert documents(reversed(made)) == made


@settings(deadline=None)
@given(st.text())
def test_plain_ascii_keeps_what_is_ascii_already(text: str) -> None:
    assert set(plain_ascii(text)) <= PRINTABLE
    kept = "".join(c for c in text if c in PRINTABLE)
    assert plain_ascii(kept) == kept


def test_typographic_signs_are_spelled_out_and_the_rest_is_dropped() -> None:
    assert plain_ascii("“naïve” — it’s…\tα\x00é") == '"naive" -- it\'s...        e'.replace(
        "        ", " " * (8 - len("“naïve” — it’s…") % 8)
    )


@pytest.mark.parametrize(
    ("paragraph", "kept"),
    [
        ("Return the number of words in a text.", True),
        (">>> f(3)\nthe result of the call", False),
        ("funcdef ::= [decorators] 'def' funcname '(' [parameter_list] ')'", False),
        ("heading", False),
        ("A heading", True),
        ("          Jar\n       /       \\\n  FileJar    OtherJar", False),
        ("", False),
    ],
)
def test_prose_is_told_from_code(paragraph: str, kept: bool) -> None:
    assert is_prose(paragraph) is kept


def test_paragraphs_lose_indentation_underlines_and_blanks() -> None:
    raw = "A heading here\n**************\n\n   Indented words,   \n     and more.\n \t\n\n   Last of the words.\n"
    assert list(paragraphs(raw)) == ["A heading here", "Indented words,\n  and more.", "Last of the words."]


def test_passages_end_at_paragraphs_and_hold_the_whole_topic() -> None:
    topic = "\n\n".join(f"paragraph {i} " + "x" * 400 for i in range(20))
    pieces = [piece for piece in passages(topic) if piece]
    assert "\n\n".join(pieces) == topic
    assert all(module.PASSAGE <= len(piece) < module.PASSAGE + 500 for piece in pieces[:-1])


def test_state_names_python_and_the_edition(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PythonDocs().state()
    assert ".".join(map(str, sys.version_info[:3])) in before
    monkeypatch.setattr(module, "EDITION", module.EDITION + 1)
    assert PythonDocs().state() != before


def test_the_reader_itself_imports_only_the_standard_library() -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {(node.module or "") for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= STANDARD | {"pydantic"}
