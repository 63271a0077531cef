"""The colours of text that is being unmasked, the same on a page, in an animation and in a terminal.

A written character has a tile behind it, whose colour shows when it was written or how confident the network was: from violet for early
or unsure to yellow for late or sure. The scale is matplotlib's viridis, whose steps look even and whose lightness rises throughout, so
it keeps its order for colour-blind readers and in grey.

Shapes: B texts, T positions, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from masklab.sampling.trace import Snapshot

LEVELS = 32
"""Colours of the scale; more could not be distinguished on single characters."""
NO_LEVEL = -1

RGB = tuple[int, int, int]


class ColourBy(StrEnum):
    STEP = "step"
    CONFIDENCE = "confidence"


@dataclass(frozen=True)
class Theme:
    """Colours for one kind of background: plain text, faint signs, and the tiles, a `part` of viridis mixed with `paper_share` of paper.

    Both are chosen so that `ink` can be read on every tile.
    """

    paper: RGB
    ink: RGB
    faint: RGB
    part: tuple[float, float]
    paper_share: float

    @cached_property
    def tiles(self) -> tuple[RGB, ...]:
        """The colour behind a character of each level, (L,)."""
        from matplotlib import colormaps

        red_green_blue = np.round(255 * colormaps["viridis"](np.linspace(*self.part, LEVELS))[:, :3]).astype(int)
        return tuple(blend((int(r), int(g), int(b)), self.paper, self.paper_share) for r, g, b in red_green_blue)


LIGHT = Theme((252, 252, 250), (20, 20, 24), (118, 120, 128), part=(0.4, 1.0), paper_share=0.2)
DARK = Theme((21, 22, 26), (236, 236, 232), (128, 131, 140), part=(0.0, 0.8), paper_share=0.55)


def levels(snapshot: Snapshot, by: ColourBy, last_step: int) -> NDArray[np.int64]:
    """The level of each character (B, T) if the scale ends at step `last_step`; NO_LEVEL where it is given or masked."""
    written = snapshot.placed_at > 0
    share = (snapshot.placed_at - 1) / max(1, last_step - 1) if by is ColourBy.STEP else snapshot.confidence
    return np.where(written, level(np.where(written, share, 0.0)), NO_LEVEL)


def level(share: NDArray[np.float64]) -> NDArray[np.int64]:
    """The level of each share, 0 to 1, of the scale."""
    return np.clip(np.floor(share * LEVELS), 0, LEVELS - 1).astype(np.int64)


def hexadecimal(colour: RGB) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def blend(first: RGB, second: RGB, share: float) -> RGB:
    """The colour at `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue
