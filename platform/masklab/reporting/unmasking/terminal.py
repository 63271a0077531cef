"""Watching text being unmasked in a terminal.

The live view breaks lines where they are full, so that no character moves but by a newline; what stays in the end keeps words whole.

Shapes: B texts, T positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from itertools import groupby
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.color import Color
from rich.console import Console, Group
from rich.live import Live
from rich.style import Style
from rich.text import Text

from masklab.reporting.unmasking.colours import DARK, LEVELS, RGB, ColourBy, levels
from masklab.reporting.unmasking.glyphs import NEWLINE, caption, lines, plain, row_signs, signs
from masklab.sampling.trace import Snapshot
from masklab.text.vocabulary import Vocabulary

SECONDS_BETWEEN, TIMES_ITS_COST = 1 / 15, 4
"""The least time from one view to the next, in seconds and in times of what drawing it took: a fifth of the time goes to it at most."""
WIDEST = 96
"""Columns of text, however wide the terminal is."""


class LiveUnmasking:
    """A watcher that shows the texts on `console` as they are; as a context, it leaves the last ones there, all of them.

    `given` (B, T), or (T,) for all texts alike, is the prompt; `describes` is a short title; `last_step` is where
    the colours of steps end, the step at hand when not known. Where the output is no terminal, nothing is shown at all.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        given: NDArray[np.bool_],
        describes: str,
        by: ColourBy = ColourBy.STEP,
        last_step: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(highlight=False)
        self._view = _View(vocabulary, given, describes, by, last_step)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        self._clock, self._due = clock, 0.0
        self._latest: Snapshot | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __call__(self, snapshot: Snapshot) -> None:
        """Show a snapshot, unless another was shown just now."""
        self._latest = snapshot
        if self._live and (began := self._clock()) >= self._due:
            self._live.update(self._view.fitting(snapshot, self._console.width, self._console.height), refresh=True)
            ended = self._clock()
            self._due = ended + max(SECONDS_BETWEEN, TIMES_ITS_COST * (ended - began))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Remove the live view and print the last texts."""
        if self._live:
            self._live.stop()
            if self._latest:
                self._console.print(self._view.whole(self._latest, self._console.width))


class _View:
    def __init__(self, vocabulary: Vocabulary, given: NDArray[np.bool_], describes: str, by: ColourBy, last_step: int | None) -> None:
        self._signs, self._mask_id, self._given = signs(vocabulary), vocabulary.mask_id, given
        self._describes, self._by, self._last_step = plain(describes), by, last_step
        self._sign_cells = max(map(cell_len, self._signs))
        # a style remembers the codes of the first console that it is shown on, and the next may have other colours
        self._masked = Style(color=_colour(DARK.faint), dim=True)

    @cached_property
    def _written(self) -> tuple[list[Style], list[Style]]:
        """The look of a character of each level, written before this step and in it."""
        older, fresh = ([_tile(level, is_fresh) for level in range(LEVELS)] for is_fresh in (False, True))
        return older, fresh

    def whole(self, snapshot: Snapshot, width: int) -> Group:
        blocks = [self._block(snapshot, row, width, whole_words=True) for row in range(len(snapshot.tokens))]
        return Group(self._caption(snapshot), *(line for block in blocks for line in block))

    def fitting(self, snapshot: Snapshot, width: int, height: int) -> Group:
        """The texts that fit into `height` lines and how many are left out; of the first text, what fits."""
        shown: list[Text] = []
        room, count = height - 3, len(snapshot.tokens)  # the caption, what is left out, the cursor
        for row in range(count):
            block = self._block(snapshot, row, width, whole_words=False)
            if row and len(shown) + len(block) > room:
                shown.append(Text(f"and {count - row} more", style="dim"))
                break
            shown += block[:room]
        return Group(self._caption(snapshot), *shown)

    def _caption(self, snapshot: Snapshot) -> Text:
        words = caption(snapshot, self._mask_id, self._last_step)
        return Text.assemble((self._describes, "bold"), "  ", (words, "dim"), no_wrap=True, overflow="ellipsis")

    def _block(self, snapshot: Snapshot, row: int, width: int, *, whole_words: bool) -> list[Text]:
        """An empty line and the lines of a text."""
        shown = row_signs(self._signs, snapshot.tokens[row].tolist())
        styles = self._styles(snapshot, row)
        columns = max(1, min(WIDEST, (width - 1) // self._sign_cells))
        return [Text(""), *(_line(shown, styles, line) for line in lines(shown, columns, whole_words=whole_words))]

    def _styles(self, snapshot: Snapshot, row: int) -> list[Style]:
        """The style of each character of a text (T,)."""
        given = np.broadcast_to(self._given, snapshot.tokens.shape)[row]
        level = levels(snapshot, self._by, self._last_step or snapshot.step)[row]
        fresh = snapshot.placed_at[row] == snapshot.step
        looks = zip(given.tolist(), level.tolist(), fresh.tolist(), strict=True)
        return [GIVEN if is_given else self._masked if at < 0 else self._written[is_fresh][at] for is_given, at, is_fresh in looks]


def _line(shown: list[str], styles: list[Style], positions: range) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    looks = ((shown[i], styles[i] + FAINT if shown[i] == NEWLINE else styles[i]) for i in positions)
    for style, run in groupby(looks, key=lambda look: look[1]):
        text.append("".join(sign for sign, _ in run), style)
    return text


def _colour(rgb: RGB) -> Color:
    return Color.from_rgb(*rgb)


FAINT = Style(dim=True, bold=False)
GIVEN = Style(bold=True, underline=True)


def _tile(level: int, is_fresh: bool) -> Style:
    """A dark tile, for a background of any colour."""
    return Style(color=_colour(DARK.ink), bgcolor=_colour(DARK.tiles[level]), bold=is_fresh)
