"""The colours of text that is being unmasked, the same on a page, in an animation and in a terminal.

A written character stands on a tile, whose colour tells when it was written or how sure the network was: from violet for early or
unsure over blue and green to yellow for late or sure. The scale is a straight line in OKLCH (Ottosson 2020), so its steps look even, and
lightness rises with it, so it stays in order for colour-blind readers and in grey.

Shapes: B texts, T positions, L levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from masklab.sampling.trace import Snapshot

LEVELS = 32
"""Colours of the scale: more cannot be told apart on single characters."""
NO_LEVEL = -1
VIOLET, YELLOW = 310.0, 105.0
"""Hues in degrees."""

RGB = tuple[int, int, int]


class ColourBy(StrEnum):
    """What the colour of a character tells."""

    STEP = "step"
    CONFIDENCE = "confidence"


@dataclass(frozen=True)
class Theme:
    """Colours for one kind of background: plain text, faint signs, and both ends of the scale as (lightness, chroma) in OKLCH."""

    paper: RGB
    ink: RGB
    faint: RGB
    tile_ends: tuple[tuple[float, float], tuple[float, float]]
    ink_ends: tuple[tuple[float, float], tuple[float, float]]

    @cached_property
    def tiles(self) -> tuple[RGB, ...]:
        """The colour behind a character of each level, (L,)."""
        return _scale(*self.tile_ends)

    @cached_property
    def inks(self) -> tuple[RGB, ...]:
        """The colour of a character of each level, (L,)."""
        return _scale(*self.ink_ends)


LIGHT = Theme((252, 252, 250), (27, 28, 31), (118, 120, 128), ((0.71, 0.095), (0.96, 0.10)), ((0.22, 0.06), (0.30, 0.05)))
DARK = Theme((21, 22, 26), (236, 236, 232), (128, 131, 140), ((0.28, 0.10), (0.52, 0.09)), ((0.87, 0.05), (0.985, 0.06)))


def levels(snapshot: Snapshot, by: ColourBy, last_step: int) -> NDArray[np.int64]:
    """The level of each character (B, T) when step `last_step` is the end of the scale; NO_LEVEL where it is given or masked."""
    written = snapshot.placed_at > 0
    share = (snapshot.placed_at - 1) / max(1, last_step - 1) if by is ColourBy.STEP else snapshot.confidence
    return np.where(written, level(np.where(written, share, 0.0)), NO_LEVEL)


def level(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """The level of each share of the scale, 0 to 1."""
    return np.clip(np.floor(share * LEVELS), 0, LEVELS - 1).astype(np.int64)


def hexadecimal(colour: RGB) -> str:
    """As CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def blend(first: RGB, second: RGB, share: float) -> RGB:
    """The colour at `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _scale(low: tuple[float, float], high: tuple[float, float]) -> tuple[RGB, ...]:
    """L colours from one (lightness, chroma) to the other, while the hue goes from violet to yellow."""
    ends = (*low, VIOLET), (*high, YELLOW)
    points = (tuple(a + (b - a) * i / (LEVELS - 1) for a, b in zip(*ends, strict=True)) for i in range(LEVELS))
    return tuple(_from_oklch(*point) for point in points)


def _from_oklch(lightness: float, chroma: float, hue: float) -> RGB:
    """The sRGB colour nearest to a point of OKLCH; matrices from bottosson.github.io/posts/oklab."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    red = 4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short
    green = -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short
    blue = -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short
    return _to_byte(red), _to_byte(green), _to_byte(blue)


def _to_byte(linear: float) -> int:
    """A linear channel as sRGB stores it (IEC 61966-2-1)."""
    stored = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(1.0, max(0.0, stored)))
