"""The scale of colours: readable, even, and in order for colour-blind readers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from unmasking_story import told, vocabulary_of

from masklab.reporting.unmasking.colours import DARK, LEVELS, LIGHT, NO_LEVEL, RGB, ColourBy, Theme, blend, hexadecimal, levels
from masklab.sampling.trace import Snapshot

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
WHITE = np.array([0.95047, 1.0, 1.08883])
DEUTERANOPIA = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
PROTANOPIA = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
"""Machado, Oliveira and Fernandes 2009, severity 1, on linear sRGB."""


def linear(colour: RGB) -> NDArray[np.float64]:
    share = np.array(colour) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one: RGB, other: RGB) -> float:
    """Of WCAG 2.2, 1 to 21."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb_linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L*a*b* of 1976, D65."""
    share = np.maximum(TO_XYZ @ rgb_linear / WHITE, 0)
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@THEMES
def test_every_character_can_be_read_on_its_tile(theme: Theme) -> None:
    assert len(theme.tiles) == LEVELS
    assert min(contrast(theme.ink, tile) for tile in theme.tiles) >= 5
    assert contrast(theme.ink, theme.paper) >= 12
    assert contrast(theme.faint, theme.paper) >= 4.2


@THEMES
@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all cones", "deuteranopia", "protanopia"])
def test_the_scale_gets_lighter_throughout_and_its_quarters_are_told_apart(theme: Theme, seen: NDArray[np.float64]) -> None:
    points = np.array([lab(np.clip(seen @ linear(tile), 0, 1)) for tile in theme.tiles])
    assert (np.diff(points[:, 0]) > 0).all()
    quarters = points[[0, LEVELS // 4, LEVELS // 2, 3 * LEVELS // 4, LEVELS - 1]]
    assert np.linalg.norm(np.diff(quarters, axis=0), axis=1).min() > 8


@THEMES
def test_the_steps_of_the_scale_look_even(theme: Theme) -> None:
    steps = np.linalg.norm(np.diff([lab(linear(tile)) for tile in theme.tiles], axis=0), axis=1)
    assert steps.max() < 2.5 * steps.min()


def test_levels_tell_the_step_or_the_confidence_of_what_was_written() -> None:
    vocabulary = vocabulary_of("abcd")
    last = told([["a___"], ["ab__"], ["abc_"]], vocabulary, given="a", confidence=0.5).snapshots[-1]
    assert levels(last, ColourBy.STEP, 2).tolist() == [[NO_LEVEL, 0, LEVELS - 1, NO_LEVEL]]
    assert levels(last, ColourBy.STEP, 5).tolist() == [[NO_LEVEL, 0, LEVELS // 4, NO_LEVEL]]
    assert levels(last, ColourBy.CONFIDENCE, 2).tolist() == [[NO_LEVEL, LEVELS // 2, LEVELS // 2, NO_LEVEL]]


def test_a_single_step_is_the_start_of_the_scale() -> None:
    snapshot = Snapshot(1, np.zeros((1, 1)), np.ones((1, 1), np.int64), np.ones((1, 1)), np.ones(1))
    assert levels(snapshot, ColourBy.STEP, 1).tolist() == [[0]]
    assert levels(snapshot, ColourBy.CONFIDENCE, 1).tolist() == [[LEVELS - 1]]


def test_colours_blend_and_are_written_as_css_has_them() -> None:
    assert blend((0, 0, 0), (10, 20, 255), 0.5) == (5, 10, 128)
    assert hexadecimal((1, 2, 255)) == "#0102ff"
