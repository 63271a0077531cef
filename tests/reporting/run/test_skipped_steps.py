"""What is told of skipped steps and of going back: at the terminal, in figures, history, summary and notices."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import run_story
from rich.console import Console

from masklab.reporting.run.diagnostics import Diagnostics
from masklab.reporting.run.history import History
from masklab.reporting.run.reporter import MetricsLog, Reporter
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.terminal import SKIPS_SHOWN, Terminal
from masklab.tracking.metrics import metrics_of
from masklab.tracking.tracker import LoggedSteps, NullTracker
from masklab.training.events import Event, RolledBack, RunFinished, StepSkipped
from masklab.training.loss_spikes import Rollback, Skip, SpikeState

NAN = float("nan")
ALONE, ROW = Skip(104, 104, 0, "loss", "the loss is nan"), Skip(290, 299, 1, "spike", "the loss of 9.3 is a spike (above 7.1)")
BACK = Rollback(300, 200, f"{ROW.batches} changed no weight: {ROW.words}", 0.5)
PATH = SpikeState(skips=(ALONE, ROW), rollbacks=(BACK,), overflows=2)


def story(folder: Path = Path("/runs/story")) -> list[Event]:
    """That of a run which skips a step at 104 and goes back at 300."""
    events = run_story.story(folder)
    at = next(i for i, event in enumerate(events) if event.iteration == 300)
    told: list[Event] = [StepSkipped(300, ROW, 11), RolledBack(300, 1, BACK, 1)]
    return [*events[:5], StepSkipped(110, ALONE, 1), *events[5:at], *told, *events[at:-1], replace(run_story.finished(), stability=PATH)]


def shown(*events: Event) -> str:
    console = Console(file=io.StringIO(), width=200)
    terminal = Terminal(run_story.info(), console)
    for event in events:
        terminal.handle(event)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_skipped_step_is_one_line() -> None:
    (line,) = shown(StepSkipped(110, ALONE, 1)).splitlines()
    assert line == "iteration 110: batch of step 104 in stage 0 skipped, no weight was changed: the loss is nan"


def test_the_lines_have_an_end() -> None:
    lines = shown(*(StepSkipped(i, ALONE, i) for i in range(1, 100))).splitlines()
    assert len(lines) == SKIPS_SHOWN
    assert lines[-1].endswith("further ones are counted and shown at the end")


@pytest.mark.parametrize(
    ("back", "words"),
    [
        (BACK, "iteration 300: back to the weights of iteration 200, at 0.5 times the learning rate, and on with the next batches"),
        (replace(BACK, to=0, lr_factor=1.0), "iteration 300: back to the first weights, and on with the next batches"),
    ],
)
def test_going_back_is_one_line(back: Rollback, words: str) -> None:
    (line,) = shown(RolledBack(300, 1, back, 1)).splitlines()
    assert line == f"{words}   batches of steps 290 to 299 in stage 1 changed no weight: the loss of 9.3 is a spike (above 7.1)"


def test_history_and_summary_keep_the_path(tmp_path: Path) -> None:
    reporter = Reporter(run_story.info(tmp_path), NullTracker())
    for event in story(tmp_path):
        reporter.handle(event)
        if isinstance(event, StepSkipped | RolledBack):
            kept = History.read(tmp_path)
            assert max(record.iteration for record in (*kept.skips, *kept.rollbacks)) == event.iteration, "kept at once"
    summary = RunSummary.read(tmp_path)
    assert summary == reporter.summary and summary.stability
    assert (summary.stability.skipped_steps, summary.stability.overflows) == (11, 2)
    assert [(s.first, s.last, s.stage, s.reason) for s in summary.stability.skips] == [
        (104, 104, 0, "the loss is nan"),
        (290, 299, 1, "the loss of 9.3 is a spike (above 7.1)"),
    ]
    assert [(r.iteration, r.to, r.lr_factor) for r in summary.stability.rollbacks] == [(300, 200, 0.5)]


def test_a_run_that_goes_on_from_before_forgets_what_it_skipped_since() -> None:
    history = History()
    for event in story():
        history = history.after(event)
    assert [s.iteration for s in history.until(200).skips] == [110] and not history.until(200).rollbacks


def test_a_stage_that_a_run_goes_back_behind_is_still_to_begin() -> None:
    history = History()
    for event in [*story()[:9], RolledBack(210, 0, replace(BACK, to=100), 1)]:
        history = history.after(event)
    assert history.boundaries == () and len(history.evaluations) == 2


def test_a_run_without_trouble_has_no_figures_of_it() -> None:
    assert not [name for event in run_story.story() for name in metrics_of(event) if name.startswith("stability/")]


class Listing(NullTracker):
    """Keeps what it is given: metric, step and figure. `logged` is what it is said to have from before."""

    def __init__(self, logged: LoggedSteps | None = None) -> None:
        self.logged, self.points = logged or LoggedSteps(), []  # type: ignore[var-annotated]

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.points += [(name, step, figure) for name, figure in metrics.items()]


def logged(events: list[Event], known: LoggedSteps | None = None) -> Listing:
    tracker = Listing(known)
    log = MetricsLog(tracker)
    for event in events:
        log.handle(event)
    return tracker


def test_counts_are_figures_as_soon_as_they_are_known() -> None:
    points = [point for point in logged(story()).points if point[0].startswith("stability/")]
    assert points == [("stability/skipped_steps", 110, 1), ("stability/skipped_steps", 300, 11), ("stability/rollbacks", 300, 1)]
    step = replace(run_story.step(300), overflows=2)
    assert metrics_of(step)["stability/overflows"] == 2.0


def test_no_figure_is_logged_twice_whatever_is_told_at_one_iteration() -> None:
    events = story()
    again = events.index(StepSkipped(300, ROW, 11))
    places = [(name, step) for name, step, _ in logged([*events[:again], StepSkipped(300, ALONE, 11), *events[again:]]).points]
    assert len(places) == len(set(places))
    assert ("progress/iters", 400) in places and ("final/loss", 400) in places
    broken_off = logged(events[: again + 1])
    steps = {name: step for name, step, _ in broken_off.points}
    after = logged(events[4:], LoggedSteps.of(steps))
    places = [(name, step) for name, step, _ in (*broken_off.points, *after.points)]
    assert len(places) == len(set(places)) and ("stability/rollbacks", 300) in places


@pytest.mark.parametrize(
    ("stability", "words"),
    [
        (SpikeState(), None),
        (SpikeState(overflows=9), None),
        (SpikeState(skips=(ALONE,)), "1 of 400 steps changed no weight, first the batch of step 104 in stage 0: the loss is nan"),
        (SpikeState(skips=(ROW,)), "lower training.learning_rate"),
        (PATH, "the run went back to earlier weights 1 time; lower training.learning_rate"),
    ],
)
def test_the_end_tells_of_skipped_steps(stability: SpikeState, words: str | None) -> None:
    finished: RunFinished = replace(run_story.finished(), stability=stability)
    troubles = {trouble.kind: trouble.words for trouble in Diagnostics(run_story.info()).check(finished)}
    assert ("skipped_steps" in troubles) == (words is not None)
    if words:
        assert words in troubles["skipped_steps"]
        assert (troubles["skipped_steps"] == words) == ("lower" not in words)


def test_a_validation_loss_that_is_no_number_is_never_the_best() -> None:
    lines = shown(*(run_story.evaluated(i, losses) for i, losses in ((100, (NAN, 2.0)), (200, (1.5, NAN)), (300, (1.7, 2.1)))))
    assert "nan" in lines
    terminal = Terminal(run_story.info(), Console(file=io.StringIO()))
    for event in (run_story.evaluated(100, (NAN, 2.0)), run_story.evaluated(200, (1.5, NAN)), run_story.evaluated(300, (1.7, 2.1))):
        terminal.handle(event)
    assert terminal._best == {0: 1.5, 1: 2.0}
