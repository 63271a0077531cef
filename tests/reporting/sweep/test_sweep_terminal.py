"""What a person reads while a sweep goes, on a terminal and in a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from sweep_story import record

from masklab.reporting.sweep.record import TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal

BEST = TrialRecord(number=0, values={"k": 1}, curriculum="c", status="finished", nelbo_nats=2.0, nelbo_stderr=0.01, train_seconds=9.0)
STOPPED = TrialRecord(number=1, values={"k": 2}, curriculum="c", status="stopped", nelbo_nats=3.0, chars=640)
FAILED = TrialRecord(number=2, values={"k": 3}, curriculum="c", status="failed", reason="[it] broke")
RUNNING = TrialRecord(number=3, values={"k": 4}, curriculum="c", status="running", nelbo_nats=2.5, chars=1280)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_each_trial_that_ends_has_a_line(is_terminal: bool) -> None:
    paper = io.StringIO()
    terminal = SweepTerminal(4, 2, Console(file=paper, force_terminal=is_terminal, width=200, highlight=False, no_color=True))
    whole = record(BEST, STOPPED, FAILED, RUNNING)
    terminal.begin(whole)
    for trial in (BEST, STOPPED, FAILED):
        terminal.ended(whole, trial)
    terminal.close()
    text = paper.getvalue()
    assert "2.0000 ± 0.0100 nats in 9 s   k=1" in text
    assert "3.0000 nats, stopped after 640 characters   k=2" in text
    assert "k=3: [it] broke" in text
    assert "3 of 4 done, best 000 2.0000" in text
    assert ("003 2.5000 after 1.28k characters" in text) == is_terminal, "only a live line tells of what is under way"
