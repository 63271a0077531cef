"""Text being unmasked as an animated GIF, which plays where no page can be opened."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from masklab.io.atomic_file import atomic_file
from masklab.reporting.unmasking.colours import LEVELS, LIGHT, ColourBy, Theme, blend, levels
from masklab.reporting.unmasking.glyphs import NEWLINE, caption, lines, plain, row_signs, signs
from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary

COLUMNS = 64
TEXT_SIZE, CAPTION_SIZE = 18, 13
MARGIN, GAP, BAR, TILE = 18, 12, 3, 3
"""Pixels around everything, above and below the bar, of its height, and of the width of each colour in the legend."""

Picture = NDArray[np.uint8]


class Look(IntEnum):
    """The looks of characters that were not written; those of the levels follow."""

    PLAIN = 0
    FAINT = 1
    MASKED = 2


def palette(theme: Theme) -> list[int]:
    """Red, green and blue of every colour number."""
    masked = blend(theme.paper, theme.ink, 0.14)
    written = ((tile, theme.ink) for tile in theme.tiles)
    ends = [(theme.paper, theme.ink), (theme.paper, theme.faint), (theme.paper, masked), *written]
    return [channel for behind, ink in ends for shade in range(SHADES) for channel in blend(behind, ink, shade / (SHADES - 1))]


class Sheet:
    """The layout of the frames of text number `row`, with the line breaks of the final text, so that nothing moves."""

    def __init__(self, trace: Trace, vocabulary: Vocabulary, title: str, by: ColourBy, row: int) -> None:
        self._signs, self._mask_id, self._given, self._row, self._by = signs(vocabulary), trace.mask_id, trace.given[row], row, by
        self._letters, self._bold, self._small = Lettering(TEXT_SIZE), Lettering(TEXT_SIZE, bold=True), Lettering(CAPTION_SIZE)
        self._last_step = trace.snapshots[-1].step
        broken = lines(row_signs(self._signs, trace.snapshots[-1].tokens[row].tolist()), COLUMNS, whole_words=True)
        self._places = [(line, column) for line, positions in enumerate(broken) for column in range(len(positions))]
        self._title = _numbers(Lettering(CAPTION_SIZE, bold=True).words(plain(title))) if title else np.zeros((0, 0), np.uint8)
        self._legend = self._legend_picture()
        widest_caption = max(self._caption(snapshot).shape[1] for snapshot in trace.snapshots)
        columns = max(len(positions) for positions in broken)
        self._width = max(columns * self._letters.width, widest_caption + MARGIN + self._legend.shape[1])
        self._bar_top = MARGIN + len(self._title) + self._small.height + GAP // 2
        self._text_top = self._bar_top + BAR + GAP
        self._height = self._text_top + len(broken) * self._letters.height + MARGIN

    def picture(self, snapshot: Snapshot) -> Picture:
        """The colour numbers (h, w) of a step."""
        out = np.zeros((self._height, self._width + 2 * MARGIN), np.uint8)
        inside = out[:, MARGIN:-MARGIN]
        _put(inside, self._title, MARGIN, 0)
        _put(inside, self._caption(snapshot), MARGIN + len(self._title), 0)
        _put(inside, self._legend, MARGIN + len(self._title), self._width - self._legend.shape[1])
        bar = inside[self._bar_top : self._bar_top + BAR]
        bar[:] = _ink(Look.MASKED)
        bar[:, : round(self._width * snapshot.step / max(1, self._last_step))] = _ink(Look.FAINT)
        for (line, column), cell in zip(self._places, self._cells(snapshot), strict=True):
            _put(inside, cell, self._text_top + line * self._letters.height, column * self._letters.width)
        return out

    def _caption(self, snapshot: Snapshot) -> Picture:
        return _numbers(self._small.words(caption(_one_text(snapshot, self._row), self._mask_id, self._last_step)))

    def _legend_picture(self) -> Picture:
        """The colour scale with its ends."""
        low, high = ("step 1 ", f" {self._last_step:,}") if self._by is ColourBy.STEP else ("0 % ", " 100 %")
        tiles = np.zeros((self._small.height, LEVELS * TILE), np.uint8)
        tiles[4:-4] = np.repeat([_behind(level) for level in range(LEVELS)], TILE)
        return np.hstack([_numbers(self._small.words(low), Look.FAINT), tiles, _numbers(self._small.words(high), Look.FAINT)])

    def _cells(self, snapshot: Snapshot) -> list[Picture]:
        shown = row_signs(self._signs, snapshot.tokens[self._row].tolist())
        level = levels(snapshot, self._by, self._last_step)[self._row].tolist()
        fresh = (snapshot.placed_at[self._row] == snapshot.step).tolist()
        looks = zip(shown, self._given.tolist(), level, fresh, strict=True)
        return [
            self._given_cell(sign) if is_given else self._masked_cell() if at < 0 else self._written_cell(sign, at, is_fresh)
            for sign, is_given, at, is_fresh in looks
        ]

    def _given_cell(self, sign: str) -> Picture:
        cell = _numbers(self._bold.sign(sign))
        cell[self._bold.baseline + 3] = _ink(Look.PLAIN)
        return cell

    def _masked_cell(self) -> Picture:
        cell = np.zeros((self._letters.height, self._letters.width), np.uint8)
        cell[5:-5, 1:-1] = _ink(Look.MASKED)
        return cell

    def _written_cell(self, sign: str, level: int, is_fresh: bool) -> Picture:
        """On its tile, a newline faint, framed if it was written in this step."""
        shades = self._letters.sign(sign)
        cell = _behind(level) + (shades // 2 if sign == NEWLINE else shades)
        if is_fresh:
            cell[[0, -1]] = cell[:, [0, -1]] = _behind(level) + SHADES - 1
        return cell


def _one_text(snapshot: Snapshot, row: int) -> Snapshot:
    only = slice(row, row + 1)
    tokens, placed_at = snapshot.tokens[only], snapshot.placed_at[only]
    return Snapshot(snapshot.step, tokens, placed_at, snapshot.confidence[only], snapshot.evaluations[only])


def _numbers(shades: Picture, look: Look = Look.PLAIN) -> Picture:
    """The colour numbers of letters with one look."""
    return shades + np.uint8(look * SHADES)


def _ink(look: Look) -> int:
    return look * SHADES + SHADES - 1


def _behind(level: int) -> np.uint8:
    """The colour number behind characters of a level."""
    return np.uint8((len(Look) + level) * SHADES)


def _put(picture: Picture, part: Picture, top: int, left: int) -> None:
    """Copy a part into a frame (h, w), cropped at the right edge."""
    part = part[:, : picture.shape[1] - left]
    picture[top : top + part.shape[0], left : left + part.shape[1]] = part


SHADES = 6
"""From 0, nothing, to SHADES - 1, all ink."""
LINE_HEIGHT, BASELINE = 1.45, 1.05
"""In sizes of the letters."""

Shades = NDArray[np.uint8]


class Lettering:
    """One size and weight of letters, each in a cell of `height` x `width` pixels with its `baseline` measured from the top."""

    def __init__(self, size: int, *, bold: bool = False) -> None:
        self._font = ImageFont.truetype(str(_font_file(bold)), size)
        self.baseline = round(size * BASELINE)
        self._cells: dict[str, Shades] = {}
        self.height = round(size * LINE_HEIGHT)
        self.width = round(self._font.getlength("0"))

    def sign(self, sign: str) -> Shades:
        """A sign in its cell (h, w)."""
        if sign not in self._cells:
            self._cells[sign] = self._drawn(sign, self.width)
        return self._cells[sign]

    def words(self, words: str) -> Shades:
        return self._drawn(words, round(self._font.getlength(words)))

    def _drawn(self, words: str, width: int) -> Shades:
        picture = Image.new("L", (width, self.height))
        ImageDraw.Draw(picture).text((0, self.baseline), words, fill=255, font=self._font, anchor="ls")
        return np.round(np.asarray(picture) / 255 * (SHADES - 1)).astype(np.uint8)


def _font_file(bold: bool) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSansMono{'-Bold' if bold else ''}.ttf"


MOST_FRAMES = 60
SECONDS, SECONDS_OF_LAST = 6.0, 2.0
QUICKEST, SLOWEST = 0.06, 0.5
"""Bounds of the seconds that one frame stays, so that all but the last take SECONDS if they can."""


def write_animation(
    trace: Trace,
    vocabulary: Vocabulary,
    path: Path,
    *,
    title: str = "",
    by: ColourBy = ColourBy.STEP,
    theme: Theme = LIGHT,
    row: int = 0,
) -> None:
    """Write text number `row` to `path` as a GIF of at most MOST_FRAMES steps. Raises DataError if the file cannot be written."""
    sheet, colours = Sheet(trace, vocabulary, title, by, row), palette(theme)
    frames = [Image.fromarray(sheet.picture(snapshot)) for snapshot in _evenly(trace.snapshots)]
    for frame in frames:
        frame.putpalette(colours)
    durations = _milliseconds(len(frames))
    with atomic_file(path) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def _evenly(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """At most MOST_FRAMES of the snapshots, evenly spaced, first and last included."""
    count = min(MOST_FRAMES, len(snapshots))
    return [snapshots[i] for i in np.linspace(0, len(snapshots) - 1, count).round().astype(int)]


def _milliseconds(frames: int) -> list[int]:
    """The duration of each frame, a multiple of the format's hundredth of a second."""
    each = min(SLOWEST, max(QUICKEST, SECONDS / frames))
    return [10 * round(100 * each)] * (frames - 1) + [round(1000 * SECONDS_OF_LAST)]
