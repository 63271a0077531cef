"""Text being unmasked as an animated GIF, which plays where no page can be opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from masklab.io.atomic_file import atomic_file
from masklab.reporting.unmasking.colours import LIGHT, ColourBy, Theme
from masklab.reporting.unmasking.unmasking_sheet import Sheet, palette
from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary

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
    """Write text number `row` to `path`, at most MOST_FRAMES of its steps. Raises DataError when the file cannot be written."""
    sheet, colours = Sheet(trace, vocabulary, title, by, row), palette(theme)
    frames = [Image.fromarray(sheet.picture(snapshot)) for snapshot in _evenly(trace.snapshots)]
    for frame in frames:
        frame.putpalette(colours)
    durations = _milliseconds(len(frames))
    with atomic_file(path) as temporary:
        frames[0].save(temporary, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)


def _evenly(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """At most MOST_FRAMES of them, the first and the last among these."""
    count = min(MOST_FRAMES, len(snapshots))
    return [snapshots[i] for i in np.linspace(0, len(snapshots) - 1, count).round().astype(int)]


def _milliseconds(frames: int) -> list[int]:
    """How long each frame stays, in the hundredths of a second that the format has."""
    each = min(SLOWEST, max(QUICKEST, SECONDS / frames))
    return [10 * round(100 * each)] * (frames - 1) + [round(1000 * SECONDS_OF_LAST)]
