"""A generation as what changes from step to step: small, even where characters are masked again and again.

Shapes: B texts, T positions, S steps, M positions of a text that change in a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masklab.reporting.unmasking.colours import LEVELS
from masklab.reporting.unmasking.glyphs import MASKED, NEWLINE
from masklab.reporting.unmasking.unmasking_caption import caption
from masklab.sampling.trace import Snapshot, Trace


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
    """The changes of each snapshot, a list for each text; `numbers` gives each token that of its sign."""
    before = np.zeros((3, *snapshots[0].tokens.shape), np.int64)
    for snapshot in snapshots:
        percent = np.nan_to_num(np.round(100 * snapshot.confidence)).astype(np.int64)
        now = np.stack([numbers[snapshot.tokens], percent, snapshot.placed_at])
        age = np.where(snapshot.placed_at > 0, snapshot.step - snapshot.placed_at, 0)
        rows = zip((now != before).any(axis=0), now[0], percent, age, strict=True)
        yield [_flat(*row) for row in rows]
        before = now


def _flat(changed_T: NDArray[np.bool_], *values_T: NDArray[np.int64]) -> list[int]:
    """The distance of each changed position from the one before it, and the `values` there."""
    positions_M = np.flatnonzero(changed_T)
    columns = (np.diff(positions_M, prepend=0), *(value[positions_M] for value in values_T))
    flat: list[int] = np.stack(columns, axis=1).ravel().tolist()
    return flat
