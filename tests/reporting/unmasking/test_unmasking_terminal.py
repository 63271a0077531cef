"""Text being unmasked, as a terminal shows it."""

from __future__ import annotations

import math
import re
from io import StringIO
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style
from unmasking_story import drawn, told, vocabulary_of

from masklab.reporting.unmasking.colours import DARK, ColourBy
from masklab.reporting.unmasking.terminal import LiveUnmasking
from masklab.sampling.trace import Trace
from masklab.text.vocabulary import Vocabulary

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class SlowFile(StringIO):
    """An output with a clock, on which each view takes `cost` seconds to be written."""

    def __init__(self, cost: float = 0.0) -> None:
        super().__init__()
        self.cost, self.now = cost, 0.0

    def write(self, text: str) -> int:
        self.now += self.cost * text.count("network evaluation")
        return super().write(text)


@pytest.fixture(autouse=True)
def forgotten_styles() -> None:
    """Rich keeps combined styles with the codes of the first console that showed them: an earlier test's may have fewer colours."""
    Style._add.cache_clear()


def shown(
    trace: Trace,
    vocabulary: Vocabulary,
    *,
    live: bool = True,
    height: int = 30,
    width: int = 90,
    by: ColourBy = ColourBy.STEP,
    file: SlowFile | None = None,
    seconds: float = 1.0,
) -> str:
    """All that goes to the output, a snapshot every so many seconds."""
    file = file or SlowFile()
    console = Console(file=file, force_terminal=live, width=width, height=height, color_system="truecolor", _environ={})
    view = LiveUnmasking(vocabulary, trace.given, "made up", by, trace.snapshots[-1].step, console, lambda: file.now)
    with view:
        for snapshot in trace.snapshots:
            view(snapshot)
            file.now += seconds
    return file.getvalue()


def left(output: str) -> list[str]:
    """The lines that stay when the live view is gone, without colours."""
    return SEQUENCE.sub("", output.rpartition("\x1b[?25h")[2]).lstrip("\r").splitlines()


def test_nothing_is_shown_where_the_output_is_no_terminal() -> None:
    vocabulary = vocabulary_of("abc")
    assert shown(told([["___"], ["abc"]], vocabulary), vocabulary, live=False) == ""


def test_the_last_texts_stay() -> None:
    vocabulary = vocabulary_of("ab\nc")
    output = shown(told([["____", "____"], ["ab__", "__\nc"], ["ab\nc", "ca\nc"]], vocabulary), vocabulary)
    assert [line.rstrip() for line in left(output)] == [
        "made up  step 2 of 2 · 0 % masked · 2 network evaluations",
        *("", "ab⏎", "c"),
        *("", "ca⏎", "c"),
    ]


def test_a_character_that_is_masked_again_shows_as_masked() -> None:
    vocabulary = vocabulary_of("abc")
    plain = SEQUENCE.sub("", shown(told([["___"], ["ab_"], ["a__"], ["abc"]], vocabulary), vocabulary))
    assert [texts for texts, _ in groupby(re.findall("[abc░]{3}", plain))] == ["░░░", "ab░", "a░░", "abc"]


def test_given_characters_are_bold_and_underlined_on_no_tile() -> None:
    vocabulary = vocabulary_of("abc")
    last = shown(told([["ab_"], ["abc"]], vocabulary, given="ab"), vocabulary).rpartition("\x1b[?25h")[2]
    assert "\x1b[1;4mab\x1b[0m" in last


@pytest.mark.parametrize(("by", "level"), [(ColourBy.STEP, 31), (ColourBy.CONFIDENCE, 8)])
def test_the_tile_tells_step_or_confidence(by: ColourBy, level: int) -> None:
    vocabulary = vocabulary_of("ab")
    last = shown(told([["__"], ["a_"], ["ab"]], vocabulary, confidence=0.25), vocabulary, by=by).rpartition("\x1b[?25h")[2]
    red, green, blue = DARK.tiles[level]
    (style,) = re.findall("\x1b\\[([0-9;]*)mb", last) or re.findall("\x1b\\[([0-9;]*)mab", last)
    assert f"48;2;{red};{green};{blue}" in style


@pytest.mark.parametrize("cost", [0.0, 0.01, 0.1, 1.0])
def test_views_are_drawn_fifteen_times_a_second_and_take_a_fifth_of_the_time_at_most(cost: float) -> None:
    vocabulary, file = vocabulary_of("a"), SlowFile(cost)
    output = shown(told([["_"] for _ in range(2000)] + [["a"]], vocabulary), vocabulary, file=file, seconds=0.01)
    views = output.count("network evaluation") - 2  # the last one is drawn when it is taken away, and printed
    elapsed = file.now - 2 * cost
    most = min(15 * elapsed, 0.2 * elapsed / cost if cost else math.inf)
    assert 0.8 * most - 1 <= views <= most + 1
    assert left(output)[-1].strip() == "a"


def test_texts_that_do_not_fit_are_counted_while_live_and_printed_in_the_end() -> None:
    vocabulary = vocabulary_of("ab")
    output = shown(told([["__"] * 9, ["ab"] * 9], vocabulary), vocabulary, height=10)
    assert "and 6 more" in output
    assert sum(line.strip() == "ab" for line in left(output)) == 9


@pytest.mark.parametrize("width", [1, 2, 3, 20, 200])
@pytest.mark.parametrize("height", [1, 4, 30])
def test_any_size_of_terminal_will_do(width: int, height: int) -> None:
    text = "the quick brown fox\njumps over the lazy dog"
    vocabulary = vocabulary_of(text)
    lines = left(shown(drawn(text, vocabulary, given=3), vocabulary, width=width, height=height))
    assert max(map(len, lines)) <= width


def test_no_control_sequence_of_a_text_reaches_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e[bold]x[/bold]\ud800e\u0301"
    vocabulary = Vocabulary.of_text(hostile)
    output = shown(told([[hostile]], vocabulary), vocabulary)
    kept = SEQUENCE.sub("", output)
    assert "␛]0;owned␇␛[2J�31m␡�[bold]x[/bold]�e◌\u0301" in kept
    assert not set("\x1b\x07\x9b\x7f\u202e\ud800") & set(kept)


@settings(max_examples=30, deadline=None)
@for_all(st.text(st.characters(), min_size=1, max_size=12), st.integers(0, 5))
def test_any_text_can_be_shown(text: str, seed: int) -> None:
    vocabulary = Vocabulary.of_text(text)
    kept = SEQUENCE.sub("", shown(drawn(text, vocabulary, seed=seed), vocabulary))
    kept.encode("utf-8")
    assert all(c in "\r\n" or c.isprintable() for c in kept)


def test_a_prompt_may_be_the_same_for_all_texts() -> None:
    vocabulary = vocabulary_of("abc")
    trace = told([["a__", "a__"], ["abc", "acb"]], vocabulary, given="a")
    alike = Trace(np.array([True, False, False]), trace.mask_id, trace.snapshots)
    assert shown(alike, vocabulary) == shown(trace, vocabulary)
