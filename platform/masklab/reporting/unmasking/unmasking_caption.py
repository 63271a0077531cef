"""A line about one step of a generation.

Shapes: B texts.
"""

from __future__ import annotations

import numpy as np

from masklab.sampling.trace import Snapshot


def caption(snapshot: Snapshot, mask_id: int, last_step: int | None = None) -> str:
    """`step 12 of 64 · 37 % masked · 12 network evaluations`, these for each text."""
    of = "" if last_step is None else f" of {last_step:,}"
    masked = float((snapshot.tokens == mask_id).mean()) if snapshot.tokens.size else 0.0
    return f"step {snapshot.step:,}{of} · {masked:.0%} masked · {_evaluations(snapshot)}".replace("%", " %")


def _evaluations(snapshot: Snapshot) -> str:
    fewest, most = int(np.min(snapshot.evaluations)), int(np.max(snapshot.evaluations))
    number = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return f"{number} network evaluation{'' if number == '1' else 's'}"
