"""Records in JSON files: the same after a round trip, and refused by name where they are damaged."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import pytest

from masklab.errors import RunError
from masklab.io.json_record import JsonRecord, Number


class Score(JsonRecord):
    FILE: ClassVar[str] = "score.json"
    REMEDY: ClassVar[str] = "remove it"

    name: str
    loss: Number = None


def test_a_record_is_the_same_after_a_round_trip_and_nan_is_null(tmp_path: Path) -> None:
    Score(name="a", loss=1.5).write(tmp_path)
    assert (tmp_path / "score.json").read_text() == '{\n "name": "a",\n "loss": 1.5\n}\n'
    assert Score.read(tmp_path) == Score(name="a", loss=1.5)
    assert Score(name="b", loss=math.nan).loss is None


@pytest.mark.parametrize("text", [None, "{", '{"name": "a", "other": 1}', "\xff"])
def test_a_missing_or_damaged_record_is_refused_with_its_remedy(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "score.json").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=r"score\.json cannot be read \(\w+\); remove it$"):
        Score.read(tmp_path)
