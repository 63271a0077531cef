"""What stands for a token, where lines break, and what is said of a step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from unmasking_story import told, vocabulary_of

from masklab.inference.sample import together
from masklab.reporting.unmasking.glyphs import MASKED, NEWLINE, caption, lines, sign, signs
from masklab.sampling.trace import Snapshot
from masklab.text.vocabulary import SPECIAL_SIGN, Vocabulary


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        *(("a", "a"), ("漢", "漢"), ("\u00a0", " "), ("\u0301", "◌\u0301")),
        *(("\n", "⏎"), ("⏎", "↵"), ("░", "▒"), ("\t", "␉"), ("\x1b", "␛"), ("\x7f", "␡")),
        *((hidden, "�") for hidden in ("\x9b", "\u202e", "\u2028", "\ud800", "\ue000", "\U000e0001")),
    ],
)
def test_every_character_has_a_visible_sign(character: str, shown: str) -> None:
    assert sign(character) == shown


@for_all(st.characters())
def test_a_sign_is_printable_and_none_of_our_own_but_for_the_newline(character: str) -> None:
    assert sign(character).isprintable()
    assert sign(character) != MASKED
    assert (sign(character) == NEWLINE) == (character == "\n")


def test_special_tokens_have_signs_as_well() -> None:
    vocabulary = Vocabulary.of_text("ab")
    table = signs(vocabulary)
    assert table[:4] == ("a", "b", MASKED, SPECIAL_SIGN)
    assert len(table) == vocabulary.extended_size


@pytest.mark.parametrize(
    ("text", "whole_words", "expected"),
    [
        ("abcdefg", True, ["abcde", "fg"]),
        ("ab cdefg", True, ["ab ", "cdefg"]),
        ("ab cdefg", False, ["ab cd", "efg"]),
        ("abcde fgh", True, ["abcde ", "fgh"]),
        ("abcde⏎fg", True, ["abcde⏎", "fg"]),
        ("⏎⏎a⏎", True, ["⏎", "⏎", "a⏎"]),
        ("a bcdefgh", True, ["a ", "bcdef", "gh"]),
    ],
)
def test_lines_break_after_newlines_and_where_they_are_full(text: str, whole_words: bool, expected: list[str]) -> None:
    assert ["".join(text[i] for i in line) for line in lines(text, 5, whole_words=whole_words)] == expected


@for_all(st.text("ab ⏎", max_size=60), st.integers(1, 8), st.booleans())
def test_lines_hold_every_position_once_and_are_full_at_most(text: str, columns: int, whole_words: bool) -> None:
    broken = lines(text, columns, whole_words=whole_words)
    assert [i for line in broken for i in line] == list(range(len(text)))
    for line in broken:
        words = "".join(text[i] for i in line)
        assert 1 <= len(words) <= columns + words.endswith((" ", NEWLINE))
        assert NEWLINE not in words[:-1]


@pytest.mark.parametrize(
    ("evaluations", "words"),
    [([1, 1], "1 network evaluation"), ([12, 12], "12 network evaluations"), ([9, 1200], "9 to 1,200 network evaluations")],
)
def test_a_caption_tells_step_masks_and_network_evaluations(evaluations: list[int], words: str) -> None:
    tokens = np.array([[0, 2, 2, 2], [0, 0, 2, 1]])
    snapshot = Snapshot(12, tokens, np.zeros_like(tokens), np.zeros(tokens.shape), np.array(evaluations))
    assert caption(snapshot, 2, 1064) == f"step 12 of 1,064 · 50 % masked · {words}"
    assert caption(snapshot, 2).startswith("step 12 · 50 % masked")


def test_a_recorder_keeps_what_it_sees_beside_other_watchers() -> None:
    vocabulary = vocabulary_of("ab")
    trace = told([["a_", "a_"], ["ab", "aa"]], vocabulary, given="a")
    kept, steps = list[Snapshot](), list[int]()
    watch = together(kept.append, lambda snapshot: steps.append(snapshot.step))
    for snapshot in trace.snapshots:
        watch(snapshot)
    assert tuple(kept) == trace.snapshots
    assert steps == [0, 1]
