"""English prose that ships with Python itself: the language reference that `help()` prints, and the standard library's docstrings.

The text needs no network, is the same for everyone with one version of Python, and has a small alphabet: printable ASCII and the
newline. Modules are read, never imported. Only names of the standard library are looked at, without those parts that distributions
package apart, so that two installations of one version agree.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from masklab.errors import DataError
from masklab.text.sources.origin import TextOrigin

EDITION = 1
"""Increased when the rules of this file change, so that corpora made by older rules are prepared again."""
LEFT_OUT = frozenset({"ensurepip", "distutils", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtle", "turtledemo", "venv"})
"""Modules that some distributions leave out, bundle differently, or that hold no prose of their own."""
PASSAGE = 1500
"""Characters after which a passage of the language reference ends at the next paragraph, so that topics mix with docstrings."""
SHORTEST = 40
"""Characters of the shortest document."""
LETTERS, BLANKS = 0.75, 0.35
"""Least share of letters among the signs of a paragraph, and most of blanks in it all: beyond stand grammars, tables and drawings."""
ASCII = str.maketrans(
    {"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "--", "…": "...", "•": "*", "→": "->", "×": "x", "\u00a0": " "}
)
BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
NO_LETTERS = re.compile(r"[^A-Za-z]+")
UNPRINTABLE = re.compile(r"[^\n -~]+")


class PythonDocs(TextOrigin):
    """Documents of the running Python, in an order that depends on nothing but their content."""

    source: Literal["python_docs"] = "python_docs"
    """Kind of source."""
    path: None = None
    """Takes none."""

    @field_validator("path", mode="before")
    @classmethod
    def _path_is_refused(cls, path: str | None) -> None:
        if path is not None:
            raise ValueError(f"source=python_docs reads no file, and path={path} would be passed over; for your own text use dataset=text")

    def state(self) -> str:
        return f"{python_version()}, edition {EDITION}"

    def text(self, folder: Path) -> str:
        """The documents with blank lines between them. Raises DataError when this Python has come without its sources."""
        library = Path(sysconfig.get_paths()["stdlib"])
        found = documents([*topics(library / "pydoc_data" / "topics.py"), *docstrings(library)])
        if not found:
            raise DataError(f"{library}: this Python has no readable standard library; use dataset=text dataset.path=FILE")
        return "\n\n".join(found) + "\n"


def documents(raw: Iterable[str]) -> list[str]:
    """The `raw` texts cleaned, each paragraph once, in the order of their hashes.

    Topics contain each other, and docstrings are inherited by copying: a paragraph that stood in both splits would make the
    metrics on held-out text too good. The order makes the end of the text resemble the rest of it.
    """
    seen: set[str] = set()
    kept = []
    for text in raw:
        fresh = [p for p in dict.fromkeys(paragraphs(text)) if p not in seen]
        seen.update(fresh)
        document = "\n\n".join(fresh)
        if len(document) >= SHORTEST:
            kept.append(document)
    return sorted(kept, key=lambda document: hashlib.sha256(document.encode()).digest())


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of prose in `text`: printable ASCII, not indented, without blanks at line ends."""
    for block in BLANK_LINES.split(plain_ascii(text)):
        lines = [line.rstrip() for line in textwrap.dedent(block).splitlines()]
        paragraph = "\n".join(line for line in lines if any(c.isalnum() for c in line))
        if is_prose(paragraph):
            yield paragraph


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph is made of words, and shows no session at the prompt."""
    signs = len("".join(paragraph.split()))
    letters = len(NO_LETTERS.sub("", paragraph))
    is_spread_out = len(paragraph) - signs > BLANKS * len(paragraph)
    return ">>>" not in paragraph and " " in paragraph and letters >= LETTERS * signs and not is_spread_out


def plain_ascii(text: str) -> str:
    """`text` in printable ASCII and newlines: typographic signs are spelled out, accents dropped, what remains left out."""
    spelled = text.expandtabs()
    if not spelled.isascii():
        spelled = unicodedata.normalize("NFKD", spelled.translate(ASCII))
    return UNPRINTABLE.sub("", spelled)


def topics(file: Path) -> Iterator[str]:
    """Passages of the language reference, or nothing where it has not been installed."""
    for node in _parsed(file).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            table: dict[str, str] = ast.literal_eval(node.value)
            for name in sorted(table):
                yield from passages(table[name])


def passages(topic: str) -> Iterator[str]:
    """`topic` cut after paragraphs into pieces of about PASSAGE characters."""
    piece: list[str] = []
    for block in BLANK_LINES.split(topic):
        piece.append(block)
        if sum(map(len, piece)) >= PASSAGE:
            yield "\n\n".join(piece)
            piece = []
    yield "\n\n".join(piece)


def docstrings(library: Path) -> Iterator[str]:
    """The docstrings of the standard library's modules, their classes and functions, in the order of the files' names."""
    for name in sorted(sys.stdlib_module_names - LEFT_OUT):
        yield from docstrings_of(library, name)


def docstrings_of(library: Path, name: str) -> Iterator[str]:
    """The docstrings of one module or package, without those of its tests."""
    files = sorted((library / name).rglob("*.py"))
    for file in [library / f"{name}.py", *files]:
        if not {"test", "tests"} & set(file.relative_to(library).parts):
            yield from _documented(_parsed(file))


def python_version() -> str:
    return f"{sys.implementation.name} {'.'.join(map(str, sys.version_info))}"


def _documented(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        yield inspect.cleandoc(first.value.value)
    for inner in node.body:
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(inner)


def _parsed(file: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])
