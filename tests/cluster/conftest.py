"""What the tests of the cluster share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """A place for runs, with a text beside it."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(text, encoding="utf-8")
    return home
