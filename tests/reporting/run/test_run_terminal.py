"""What a run prints, to a terminal and to a file."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import run_story
from rich.console import Console

from masklab.reporting.numbers import duration, fixed, si
from masklab.reporting.run.reporter import Reporter
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.terminal import Terminal
from masklab.tracking.tracker import NullTracker
from masklab.training.events import Event


def printed(folder: Path, events: list[Event], live: bool = False, width: int = 100) -> str:
    file = StringIO()
    console = Console(file=file, force_terminal=live, width=width, highlight=False, _environ={})
    info: RunInfo = run_story.info(folder)
    terminal = Terminal(info, console)
    reporter = Reporter(info, NullTracker(), terminal)
    for event in events:
        reporter.handle(event)
    terminal.close()
    return file.getvalue()


def test_a_file_gets_plain_lines(tmp_path: Path) -> None:
    text = printed(tmp_path, run_story.story(tmp_path))
    assert "\x1b" not in text
    lines = text.splitlines()
    assert "stage 1 of 1 begins: diffusion, linear   stage 0 ended: 5 evaluations without improvement" in lines
    (line,) = [line for line in lines if "iteration    100  validation" in line]
    assert (
        line
        == " 25%  iteration    100  validation 2.7000  NELBO 4.040 bits/char  p(true char) vs chance 8.0x  [2.400 3.000]  improved: 2.4000"
    )
    assert sum("5 evaluations without improvement" in line for line in lines) == 2, "once when it happens and once in the summary"


def test_plain_lines_are_sparse(tmp_path: Path) -> None:
    steps: list[Event] = [run_story.step(i, budget_used=i / 1000) for i in range(1, 1001)]
    lines = printed(tmp_path, [run_story.started(), *steps]).splitlines()
    assert 15 <= sum("loss" in line for line in lines) <= 21


def test_a_terminal_gets_a_bar_and_a_table_of_stages(tmp_path: Path) -> None:
    text = printed(tmp_path, run_story.story(tmp_path), live=True)
    assert "━" in text
    assert "31.4k chars/s" in text
    assert "▸ 0 sticky 20 %" in text
    assert "▸ 1 diffusion, linear" in text
    assert text.endswith("\n")
    assert "\x1b[?25h" in text, "the cursor is shown again"


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_summary_fits_the_width(tmp_path: Path, width: int) -> None:
    reporter = Reporter(run_story.info(tmp_path), NullTracker())
    for event in run_story.story(tmp_path):
        reporter.handle(event)
    assert reporter.summary is not None
    file = StringIO()
    Terminal(run_story.info(tmp_path), Console(file=file, width=width, _environ={})).summary(reporter.summary)
    assert max(len(line) for line in file.getvalue().splitlines()) <= width


def test_the_summary_tells_yardstick_stages_sample_place_and_browsing(tmp_path: Path) -> None:
    text = printed(tmp_path, run_story.story(tmp_path), width=200)
    for words in (
        "3.0297 ± 0.0144 bits per character",
        "2.1000 ± 0.0100 nats",
        "best loss",
        "final loss",
        str(tmp_path),
        "make ui",
        "0 to 200",
    ):
        assert words in text


def test_brackets_in_a_sample_are_no_markup(tmp_path: Path) -> None:
    sample = "[bold]x[/bold] [/] [link=file:///etc]y"
    assert sample in printed(tmp_path, [run_story.started(), run_story.finished(sample=sample)])


def test_trouble_is_said_when_it_is_seen(tmp_path: Path) -> None:
    text = printed(tmp_path, [run_story.started(), run_story.evaluated(300, model_vs_random=1.1), run_story.step(310)])
    assert "notice  after 300 iterations" in text
    assert text.index("notice") < text.index("iteration    310")


def test_a_resumed_run_says_from_where(tmp_path: Path) -> None:
    text = printed(tmp_path, [run_story.started(100, stage=1, resumed_from=Path("/runs/story/checkpoints/100"))])
    assert "resumed at iteration 100 from /runs/story/checkpoints/100" in text


def test_a_damaged_checkpoint_is_named_with_what_is_wrong_with_it(tmp_path: Path) -> None:
    started = run_story.started(100, stage=1, resumed_from=Path("/runs/story/checkpoints/100"))
    text = printed(tmp_path, [replace(started, set_aside=("step_000000200: state.json is missing",))])
    assert "notice  checkpoint step_000000200: state.json is missing; it is now called damaged_step_000000200" in text


@pytest.mark.parametrize(
    ("value", "words"), [(812, "812"), (31_400, "31.4k"), (4_200_000, "4.20M"), (1.5e9, "1.50G"), (0, "0"), (float("nan"), "–")]
)
def test_amounts_have_three_digits_and_a_unit(value: float, words: str) -> None:
    assert si(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(9.2, "9 s"), (59.7, "1:00"), (187.4, "3:07"), (7387, "2:03:07"), (None, "–"), (float("inf"), "–")]
)
def test_durations_read_like_a_clock(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_a_missing_figure_is_a_dash() -> None:
    assert (fixed(None, 2), fixed(2.5, 3)) == ("–", "2.500")
