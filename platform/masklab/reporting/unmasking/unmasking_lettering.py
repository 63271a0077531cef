"""Letters as shades, for pictures with few colours: each pixel is a step of the way from the colour behind a letter to its ink.

The letters are those of DejaVu Sans Mono, which comes with matplotlib. Shapes: h, w pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SHADES = 6
"""From 0, nothing, to SHADES - 1, all ink."""
LINE_HEIGHT, BASELINE = 1.45, 1.05
"""In sizes of the letters."""

Shades = NDArray[np.uint8]


class Lettering:
    """One size and weight of letters, each in a cell of `height` and `width` pixels, on a `baseline` so far from its top."""

    def __init__(self, size: int, *, bold: bool = False) -> None:
        self._font = ImageFont.truetype(str(_font_file(bold)), size)
        self.baseline = round(size * BASELINE)
        self._cells: dict[str, Shades] = {}
        self.height = round(size * LINE_HEIGHT)
        self.width = round(self._font.getlength("0"))

    def sign(self, sign: str) -> Shades:
        """A sign in its cell: (h, w)."""
        if sign not in self._cells:
            self._cells[sign] = self._drawn(sign, self.width)
        return self._cells[sign]

    def words(self, words: str) -> Shades:
        """A line of words, as wide as they are: (h, w)."""
        return self._drawn(words, round(self._font.getlength(words)))

    def _drawn(self, words: str, width: int) -> Shades:
        picture = Image.new("L", (width, self.height))
        ImageDraw.Draw(picture).text((0, self.baseline), words, fill=255, font=self._font, anchor="ls")
        return np.round(np.asarray(picture) / 255 * (SHADES - 1)).astype(np.uint8)


def _font_file(bold: bool) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSansMono{'-Bold' if bold else ''}.ttf"
