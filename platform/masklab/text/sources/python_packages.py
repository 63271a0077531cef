"""Docstrings of the standard library, labelled by the package that they come from.

The ten packages and modules with the most docstrings of prose are taken, those of private names left out; in Python 3.11 these are
asyncio, email, http, importlib, inspect, logging, multiprocessing, tarfile, unittest and xml. Modules are read, never imported, and
one version of Python gives the same rows everywhere.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from masklab.errors import DataError
from masklab.text.sources.origin import Example, LabelledOrigin
from masklab.text.sources.python_docs import LEFT_OUT, SHORTEST, docstrings_of, paragraphs, python_version

EDITION = 1
"""Increased when the rules of this file change, so that corpora made by older rules are prepared again."""
PACKAGES = 10
"""Number of packages, which are the classes."""


class PythonPackages(LabelledOrigin):
    """Docstrings of the running Python, each with the name of its package."""

    source: Literal["python_packages"] = "python_packages"
    """Kind of source."""
    path: None = None
    """Takes none."""

    @field_validator("path", mode="before")
    @classmethod
    def _path_is_refused(cls, path: str | None) -> None:
        if path is not None:
            raise ValueError(
                f"source=python_packages reads no file, and path={path} would be passed over; for your own use dataset=labelled"
            )

    def state(self) -> str:
        return f"{python_version()}, edition {EDITION}"

    def examples(self) -> Iterator[Example]:
        """The docstrings of the largest packages. Raises DataError when this Python has come without its sources."""
        library = Path(sysconfig.get_paths()["stdlib"])
        found = packages(library)
        if len(found) < 2:
            raise DataError(f"{library}: this Python has no readable standard library; use dataset=labelled dataset.path=FILE")
        for name in sorted(found, key=lambda name: (-len(found[name]), name))[:PACKAGES]:
            for number, text in enumerate(found[name], start=1):
                yield Example(f"docstring {number} of {name}", text, name)


def packages(library: Path) -> dict[str, list[str]]:
    """The docstrings of each package, cleaned like the corpus of Python's documentation, with each paragraph once in all.

    A paragraph in two packages would not identify its package, and one in both splits would make the metrics too good.
    """
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for name in sorted(sys.stdlib_module_names - LEFT_OUT):
        if name.startswith("_"):
            continue
        for docstring in docstrings_of(library, name):
            fresh = [paragraph for paragraph in dict.fromkeys(paragraphs(docstring)) if paragraph not in seen]
            seen.update(fresh)
            text = "\n\n".join(fresh)
            if len(text) >= SHORTEST:
                found.setdefault(name, []).append(text)
    return found
