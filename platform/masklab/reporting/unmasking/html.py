"""A page that plays text being unmasked: one HTML file that fetches nothing.

Texts, title and facts are shown as signs (`glyphs`) and escaped, and the content security policy of the page admits no script and no
style but its own, by their hashes.

Shapes: B texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from masklab.reporting.pages import own_file, render
from masklab.reporting.unmasking.colours import DARK, LEVELS, LIGHT, Theme, hexadecimal
from masklab.reporting.unmasking.glyphs import MASKED, NEWLINE, caption, row_signs, signs
from masklab.sampling.trace import Snapshot, Trace
from masklab.text.vocabulary import Vocabulary


def record(trace: Trace, table: Sequence[str]) -> dict[str, Any]:
    """All that a page must know of `trace`, to be written as JSON; `table` holds the sign of every token.

    `signs`, of which the first is the masked one and the second the newline; `given` (B, ·), positions; `steps` and `captions` (S + 1);
    `changes` (S + 1, B), each a flat list (4 M) of: positions since the change before, number of the sign, confidence in percent, steps
    since it was written. The first are changes from all masked.
    """
    used = np.unique([snapshot.tokens for snapshot in trace.snapshots])
    shown = list(dict.fromkeys((MASKED, NEWLINE, *(table[token] for token in used))))
    number = {sign: i for i, sign in enumerate(shown)}
    numbers = np.array([number.get(sign, 0) for sign in table])
    last_step = trace.snapshots[-1].step
    return {
        "length": trace.given.shape[1],
        "levels": LEVELS,
        "signs": shown,
        "given": [np.flatnonzero(row).tolist() for row in trace.given],
        "steps": [snapshot.step for snapshot in trace.snapshots],
        "captions": [caption(snapshot, trace.mask_id, last_step) for snapshot in trace.snapshots],
        "changes": list(_changes(trace.snapshots, numbers)),
    }


def _changes(snapshots: Sequence[Snapshot], numbers: NDArray[np.int64]) -> Iterator[list[list[int]]]:
    """For each snapshot, the changes of each text; `numbers` maps tokens to numbers of signs."""
    before = np.zeros((3, *snapshots[0].tokens.shape), np.int64)
    for snapshot in snapshots:
        percent = np.nan_to_num(np.round(100 * snapshot.confidence)).astype(np.int64)
        now = np.stack([numbers[snapshot.tokens], percent, snapshot.placed_at])
        age = np.where(snapshot.placed_at > 0, snapshot.step - snapshot.placed_at, 0)
        rows = zip((now != before).any(axis=0), now[0], percent, age, strict=True)
        yield [_flat(*row) for row in rows]
        before = now


def _flat(changed_T: NDArray[np.bool_], *values_T: NDArray[np.int64]) -> list[int]:
    """For each changed position its distance from the one before and the `values` there, as a flat list."""
    positions_M = np.flatnonzero(changed_T)
    columns = (np.diff(positions_M, prepend=0), *(value[positions_M] for value in values_T))
    flat: list[int] = np.stack(columns, axis=1).ravel().tolist()
    return flat


def page(trace: Trace, vocabulary: Vocabulary, title: str, facts: Mapping[str, str]) -> str:
    """The whole HTML file. Without JavaScript it shows the last texts."""
    from markupsafe import Markup

    table = signs(vocabulary)
    contents = record(trace, table)
    shown = ("".join(row_signs(table, tokens)) for tokens in trace.snapshots[-1].tokens.tolist())
    return render(
        "unmasking.html.j2",
        title=title,
        facts=facts,
        texts=[text.replace(NEWLINE, f"{NEWLINE}\n") for text in shown],
        last=len(trace.snapshots) - 1,
        last_step=f"{trace.snapshots[-1].step:,}",
        levels=LEVELS,
        record=Markup(_json(contents)),
        style=Markup(_style(max(cell_len(sign) for sign in contents["signs"]))),
        script=Markup(own_file("player.js")),
    )


def _style(cell_columns: int) -> str:
    """The CSS of the page; a character is `cell_columns` columns wide."""
    dark = f"@media (prefers-color-scheme: dark) {{\n{_colours(DARK)}}}\n"
    return f":root {{ color-scheme: light dark; --cell: {cell_columns}ch; }}\n{_colours(LIGHT)}{dark}{own_file('unmasking.css')}"


def _colours(theme: Theme) -> str:
    named = {"paper": theme.paper, "ink": theme.ink, "faint": theme.faint}
    plain = "".join(f" --{name}: {hexadecimal(colour)};" for name, colour in named.items())
    levels = "".join(f".l{i} {{ background: {hexadecimal(tile)}; }}\n" for i, tile in enumerate(theme.tiles))
    return f":root {{{plain} }}\n{levels}"


def _json(contents: dict[str, Any]) -> str:
    """ASCII without characters that HTML could read as a tag."""
    text = json.dumps(contents, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
