"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from masklab.reporting.numbers import rate


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (0.04, "0.04"),
        (0.413, "0.41"),
        (0.4, "0.4"),
        (7.25, "7.2"),
        (9.96, "10"),
        (812.4, "812"),
        (31_400.0, "31.4k"),
        (math.nan, "–"),
    ],
)
def test_a_slow_speed_is_not_rounded_to_none(value: float, words: str) -> None:
    assert rate(value) == words
