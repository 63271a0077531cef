"""Sticky masks: reachability, exact counts, and agreement with slow implementations of the definition."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_statistics import LEAST_P_VALUE, mean_run, p_value_of_counts, p_value_of_samples, run_starts, streams
from pydantic import ValidationError
from sticky_reference import enumerate_growth, enumerate_trimmed, grow_literally, trim_literally

from masklab.corruption.sticky import Sticky, scattered_ceiling
from masklab.corruption.sticky_growth import _grow
from masklab.rng import RowStreams, Stream


def sticky(mask_ratio: float, p_start: float, p_extend: float, trim: str = "random") -> Sticky:
    return Sticky.model_validate({"mask_ratio": mask_ratio, "p_start": p_start, "p_extend": p_extend, "trim": trim})


def untrimmed(masking: Sticky, rows: RowStreams, block_size: int) -> np.ndarray:
    """The masks (B, T) as they are when growth stops: `draw` selects a subset of each."""
    words = np.zeros((len(rows.keys), -(-block_size // 64)), np.uint64)
    for row, key in zip(words, rows.stream(Stream.MASK), strict=True):
        _grow(row, block_size, masking.count(block_size), masking.p_start, masking.p_extend, key)
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :block_size].astype(bool)


SETTINGS = [(0.2, 0.3, 0.0), (0.4, 0.2, 0.8), (0.6, 0.1, 0.9), (0.9, 0.1, 0.9)]


@pytest.mark.parametrize(
    ("setting", "grown_ratio", "least_run", "greatest_run"),
    [(SETTINGS[0], 0.30, 1.22, 1.27), (SETTINGS[1], 0.53, 1.95, 2.1), (SETTINGS[2], 0.74, 3.4, 3.7), (SETTINGS[3], 0.93, 14.0, 15.9)],
)
def test_ratio_before_and_mean_run_after_trimming(
    setting: tuple[float, float, float], grown_ratio: float, least_run: float, greatest_run: float
) -> None:
    masking, rows = sticky(*setting), streams(1000)
    assert untrimmed(masking, rows, 1024).mean() == pytest.approx(grown_ratio, abs=0.005)
    assert least_run < mean_run(masking.draw(rows, 1024).selected) < greatest_run


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("block_size", [64, 130])
def test_agrees_in_distribution_with_literal_rounds(setting: tuple[float, float, float], block_size: int) -> None:
    masking, rows, rng = sticky(*setting), 1200, random.Random(5)
    target = masking.count(block_size)
    literal = [grow_literally(block_size, target, masking.p_start, masking.p_extend, rng) for _ in range(rows)]
    trimmed = np.array([trim_literally(mask, target, rng) for mask in literal])
    grown, drawn = untrimmed(masking, streams(rows), block_size), masking.draw(streams(rows), block_size).selected
    reference = np.array(literal)
    assert p_value_of_samples(grown.sum(axis=1), reference.sum(axis=1)) > LEAST_P_VALUE
    assert p_value_of_samples(run_starts(grown).sum(axis=1), run_starts(reference).sum(axis=1)) > LEAST_P_VALUE
    assert p_value_of_samples(run_starts(drawn).sum(axis=1), run_starts(trimmed).sum(axis=1)) > LEAST_P_VALUE


@pytest.mark.parametrize(
    ("block_size", "setting"),
    [
        (6, (0.5, 0.2, 0.8)),
        (6, (0.3, 0.3, 0.0)),
        (7, (0.42, 0.4, 0.0)),  # 3 of 7: some sequences come to their end with 2 and begin anew
        (5, (0.8, 0.05, 0.3)),  # most rounds are empty
        (5, (0.6, 1e-9, 0.5)),  # next to all of them
        (6, (0.3, 1e-300, 0.0)),
        (6, (0.5, 0.5, 1e-12)),
        (6, (0.7, 0.3, 1.0)),
        (4, (0.5, 1.0, 0.0)),
        (1, (1.0, 0.1, 0.1)),
    ],
)
def test_every_mask_is_as_likely_as_enumeration_says(block_size: int, setting: tuple[float, float, float]) -> None:
    masking, rows = sticky(*setting), streams(30_000)
    bits = 1 << np.arange(block_size)
    grown = np.bincount(untrimmed(masking, rows, block_size) @ bits, minlength=2**block_size)
    drawn = np.bincount(masking.draw(rows, block_size).selected @ bits, minlength=2**block_size)
    target = masking.count(block_size)
    final = enumerate_growth(block_size, target, masking.p_start, masking.p_extend)
    assert p_value_of_counts(grown, final) > LEAST_P_VALUE
    assert p_value_of_counts(drawn, enumerate_trimmed(final, block_size, target)) > LEAST_P_VALUE


@pytest.mark.parametrize("trim", ["random", "edges"])
@settings(deadline=None, max_examples=40)
@given(
    block_size=st.integers(1, 300),
    mask_ratio=st.floats(0, 1),
    p_start=st.floats(0, 1, exclude_min=True),
    p_extend=st.floats(1e-6, 1),
)
def test_count_is_exact_and_trimming_only_restores(trim: str, block_size: int, mask_ratio: float, p_start: float, p_extend: float) -> None:
    masking, rows = sticky(mask_ratio, p_start, p_extend, trim), streams(3)
    grown, drawn = untrimmed(masking, rows, block_size), masking.draw(rows, block_size).selected
    assert (drawn.sum(axis=1) == masking.count(block_size)).all()
    assert not (drawn & ~grown).any()


@settings(deadline=None, max_examples=40)
@given(block_size=st.integers(1, 300), p_start=st.floats(1e-12, 1))
def test_the_highest_ratio_that_is_accepted_without_extension_is_reached(block_size: int, p_start: float) -> None:
    masking = sticky(scattered_ceiling(p_start), p_start, 0.0)
    assert (masking.draw(streams(4), block_size).selected.sum(axis=1) == masking.count(block_size)).all()


def test_count_is_the_ceiling_of_the_decimal_product() -> None:
    for percent in range(1, 101):
        masking = sticky(percent / 100, 0.2, 0.8)
        for block_size in (1, 3, 5, 10, 64, 65, 100, 1024):
            assert masking.count(block_size) == max(1, math.ceil(Fraction(percent, 100) * block_size))
    assert sticky(0.0, 0.2, 0.8).count(100) == 1


def test_trimming_edges_keeps_runs_whole_and_shortens_both_ends() -> None:
    masking, rows = sticky(0.4, 0.2, 0.8, "edges"), streams(4000)
    grown, drawn = untrimmed(masking, rows, 256), masking.draw(rows, 256).selected
    runs = np.cumsum(run_starts(grown).ravel())
    pieces = np.bincount(runs[run_starts(drawn).ravel()], minlength=runs[-1] + 1)
    assert pieces.max() == 1
    lengths, left_over = np.bincount(runs[grown.ravel()]), np.bincount(runs[drawn.ravel()], minlength=runs[-1] + 1)
    assert left_over[lengths > 1].min() >= 1  # a run vanishes only when no longer one is left
    lost_first = (run_starts(grown) & ~drawn).sum()
    lost_last = (run_starts(grown[:, ::-1]) & ~drawn[:, ::-1]).sum()
    assert lost_first == pytest.approx(lost_last, rel=0.05)
    assert mean_run(drawn) > mean_run(sticky(0.4, 0.2, 0.8).draw(rows, 256).selected)


def test_ceiling_without_extension_matches_simulation_and_known_limits() -> None:
    assert scattered_ceiling(1e-9) == pytest.approx((1 - math.exp(-2)) / 2, abs=3e-4)
    assert scattered_ceiling(1.0) == 1.0
    rng = np.random.default_rng(1)
    for p_start in (0.05, 0.3, 0.7):
        mask = np.zeros(100_002, bool)  # an end cell on either side stays free
        while (open_cells := ~mask[1:-1] & ~mask[:-2] & ~mask[2:]).any():
            mask[1:-1] |= open_cells & (rng.random(100_000) < p_start)
        assert mask.mean() == pytest.approx(scattered_ceiling(p_start), abs=0.005)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.2, 0.0, 0.0), "p_start 0 never masks a first position"),
        ((0.2, 0.0, 0.9), "p_start 0 never masks a first position"),
        ((0.6, 0.3, 0.0), r"mask_ratio 0.6 is out of reach.*p_start 0.3 growth ends near 0.506"),
        ((1.2, 0.3, 0.0), "mask_ratio\n.*a probability lies between 0 and 1, and 1.2 does not"),
        ((0.2, -0.1, 0.0), "p_start\n.*a probability lies between 0 and 1, and -0.1 does not"),
        ((0.2, 0.1, 7), "p_extend\n.*a probability lies between 0 and 1, and 7 does not"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(values: tuple[float, float, float], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        sticky(*values)
