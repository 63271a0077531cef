"""Every window lies inside its split, is a pure function of seed and sample, and is placed as asked."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from masklab.errors import DataError
from masklab.text.vocabulary import Vocabulary
from masklab.text.windows import Placement, Windows, evenly_spaced, paragraph_starts

PLACEMENTS: list[Placement] = ["anywhere", "paragraphs", "epochs"]
SEEDS = st.integers(0, 2**63 - 1)
SAMPLES = st.lists(st.integers(0, 2**40), min_size=1, max_size=30)
PROSE = "One line.\nAnd another.\n\nA second paragraph,\nof two lines.\n\n\n\nA third.\n\nLast.\n"


def numbered(length: int, block_size: int, placement: Placement = "anywhere") -> Windows:
    """Windows over the tokens 0..length-1, so that a window shows where it begins."""
    return Windows(np.arange(length, dtype=np.uint16), block_size, placement, Vocabulary(tuple(map(chr, range(100, 1100)))))


def windows_of(text: str, block_size: int, placement: Placement) -> Windows:
    vocabulary = Vocabulary.of_text(text)
    return Windows(vocabulary.encode(text), block_size, placement, vocabulary)


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int]:
    block_size = draw(st.integers(1, 40))
    return draw(st.integers(block_size, block_size * 12)), block_size


@settings(deadline=None)
@given(sizes(), st.sampled_from(["anywhere", "epochs"]), SEEDS, SAMPLES)
def test_every_window_is_a_whole_stretch_of_the_split(size: tuple[int, int], placement: Placement, seed: int, samples: list[int]) -> None:
    length, block_size = size
    taken = numbered(length, block_size, placement).take(seed, np.array(samples))
    assert (taken.dtype, taken.shape) == (np.uint16, (len(samples), block_size))
    for row in taken.astype(int):
        assert 0 <= row[0] <= length - block_size
        assert row.tolist() == list(range(row[0], row[0] + block_size))


@settings(deadline=None)
@given(sizes(), st.sampled_from(["anywhere", "epochs"]), SEEDS, SAMPLES)
def test_a_row_does_not_depend_on_the_rows_it_is_asked_with(
    size: tuple[int, int], placement: Placement, seed: int, samples: list[int]
) -> None:
    windows = numbered(*size, placement)
    together = windows.take(seed, np.array(samples))
    apart = [numbered(*size, placement).take(seed, np.array([sample]))[0] for sample in reversed(samples)]
    np.testing.assert_array_equal(together, apart[::-1])


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_another_seed_and_another_sample_read_elsewhere(placement: Placement) -> None:
    windows = windows_of("".join(f"line {i} of a text\n\n" for i in range(600)), 16, placement)
    rows = np.arange(100)
    one, other = windows.take(1, rows), windows.take(2, rows)
    assert (one != other).any(axis=1).mean() > 0.9
    assert len({row.tobytes() for row in one}) > 50


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_split_of_exactly_one_block_has_that_window(placement: Placement) -> None:
    windows = windows_of("no blank line here", 18, placement)
    assert {windows.vocabulary.decode(row) for row in windows.take(5, np.arange(20))} == {"no blank line here"}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_windows_are_copies_that_leave_the_split_alone(placement: Placement) -> None:
    windows = windows_of(PROSE, 4, placement)
    before = windows.tokens.copy()
    windows.take(0, np.arange(4))[:] = 0
    np.testing.assert_array_equal(windows.tokens, before)


def test_anywhere_reaches_each_start_equally_often() -> None:
    starts = numbered(14, 5).starts(3, np.arange(20_000))
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


@settings(deadline=None)
@given(sizes(), SEEDS, st.integers(0, 1000))
def test_an_epoch_reads_each_of_its_windows_once_and_they_never_overlap(size: tuple[int, int], seed: int, epoch: int) -> None:
    length, block_size = size
    windows = numbered(length, block_size, "epochs")
    starts = np.sort(windows.starts(seed, epoch * windows.count + np.arange(windows.count)))
    assert np.diff(starts).tolist() == [block_size] * (windows.count - 1)
    missed = length - windows.count * block_size
    assert missed < 2 * block_size


def test_epochs_differ_in_order_and_in_offset() -> None:
    windows = numbered(1000, 10, "epochs")
    epochs = windows.starts(0, np.arange(200 * windows.count)).reshape(200, windows.count)
    assert set(epochs[:, 0] % 10) == set(range(10))
    assert all(tuple(a) != tuple(b) for a, b in pairwise(epochs // 10))


@settings(deadline=None)
@given(sizes())
def test_each_offset_below_the_block_size_is_possible_where_there_is_room(size: tuple[int, int]) -> None:
    length, block_size = size
    windows = numbered(length, block_size, "epochs")
    room = length - windows.count * block_size
    assert windows.count >= 1
    if length >= 2 * block_size - 1:
        assert room >= block_size - 1


def test_a_batch_may_span_epochs() -> None:
    windows = numbered(45, 10, "epochs")
    whole = windows.starts(9, np.arange(50))
    assert windows.count == 3
    np.testing.assert_array_equal(whole[7:31], windows.starts(9, np.arange(7, 31)))


def starts_by_regex(text: str) -> list[int]:
    return sorted({0} | {m.end() for m in re.finditer(r"(?:(?:^|(?<=\n))\r?\n)+", text) if m.end() < len(text)})


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "\n", "\n\n", "\r\n", "\r"]), min_size=1, max_size=40).map("".join))
def test_paragraphs_begin_at_the_text_and_after_blank_lines(text: str) -> None:
    vocabulary = Vocabulary.of_text(text)
    assert paragraph_starts(vocabulary.encode(text), vocabulary).tolist() == starts_by_regex(text)


def test_paragraph_windows_begin_at_each_paragraph_that_leaves_room() -> None:
    windows = windows_of(PROSE, 10, "paragraphs")
    rows = {windows.vocabulary.decode(row) for row in windows.take(0, np.arange(500))}
    assert rows == {"One line.\n", "A second p", "A third.\n\n"}


def test_a_text_without_paragraphs_is_refused_when_they_are_asked_for() -> None:
    with pytest.raises(DataError, match=r"paragraphs: no paragraph .* block of 8 .* use dataset\.windows=anywhere"):
        windows_of("one line\nand another", 8, "paragraphs")
    with pytest.raises(DataError, match="paragraphs"):
        windows_of("the only other paragraph is short\n\nend", 8, "paragraphs")


@settings(deadline=None)
@given(sizes(), st.integers(1, 50))
def test_evenly_spaced_windows_reach_from_the_first_place_to_the_last(size: tuple[int, int], count: int) -> None:
    length, block_size = size
    taken = evenly_spaced(np.arange(length), block_size, count)
    assert taken.shape == (count, block_size)
    starts = taken[:, 0]
    assert (taken == starts[:, None] + np.arange(block_size)).all()
    assert starts[0] == 0
    assume(count > 1)
    assert starts[-1] == length - block_size
    steps = np.diff(starts)
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_split_shorter_than_a_block_is_refused_with_its_name_and_the_numbers(placement: Placement) -> None:
    with pytest.raises(DataError, match=r"the training split has 9 characters, fewer than one block of 10: .*training\.block_size"):
        numbered(9, 10, placement)
    with pytest.raises(DataError, match=r"the validation split has 9 characters, .* larger dataset\.validation_fraction"):
        evenly_spaced(np.arange(9), 10, 3)


def test_read_only_tokens_will_do() -> None:
    tokens: Any = np.arange(50, dtype=np.uint8)
    tokens.flags.writeable = False
    windows = Windows(tokens, 5, "epochs", Vocabulary.of_text("ab\n"))
    assert windows.take(0, np.arange(3)).flags.writeable
