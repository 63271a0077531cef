"""The document on older configurations names metrics that runs log."""

from __future__ import annotations

import re
from pathlib import Path

import run_story

from masklab.tracking.metrics import metrics_of

DOCUMENT = Path(__file__).resolve().parents[3] / "docs/older-configs.md"


def test_the_metrics_that_older_ones_became_are_logged() -> None:
    events = [*run_story.story(), run_story.step(401, mfu=0.3)]
    logged = {name for event in events for name in metrics_of(event)}
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Metrics")[2]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    assert all(re.fullmatch(r" (`[\w/]+`(, )?)+ ", older) for older, _, _ in rows)
    named = {name for _, today, said in rows for name in re.findall(r"`([\w]+/[\w/]+)`", today + said)}
    assert named <= logged
    assert {"val/loss", "val/stage_loss/00", "curriculum/stage"} <= named
