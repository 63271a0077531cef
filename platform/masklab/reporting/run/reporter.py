"""The reporter of a run's events: metrics to the tracker, progress to the terminal, history and summary to the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masklab.reporting.plots import confusion_plot, loss_plot, masks_plot, save_plot
from masklab.reporting.run.diagnostics import Diagnostics, RunWarning
from masklab.reporting.run.history import History
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import summary_markdown
from masklab.reporting.run.terminal import Terminal
from masklab.tracking.metrics import PROGRESS, metrics_of
from masklab.tracking.tracker import Tracker
from masklab.training.events import (
    CheckpointSaved,
    EvaluationDone,
    Event,
    RolledBack,
    RunFinished,
    RunStarted,
    StageAdvanced,
    StepDone,
    StepSkipped,
)


class MetricsLog:
    """Logs the metrics of events to a tracker, each once: what was logged before a resume is skipped."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker, has = tracker, tracker.logged
        self._known: dict[type, int] = {
            StepDone: has.training,
            EvaluationDone: has.evaluation,
            RunFinished: has.final,
            StepSkipped: has.skips,
            RolledBack: has.rollbacks,
        }

    def handle(self, event: Event) -> None:
        metrics = metrics_of(event)
        if isinstance(event, RunFinished) and self._known[StepDone] >= event.iteration:
            metrics = {name: value for name, value in metrics.items() if not name.startswith(PROGRESS)}  # the last step's
        if metrics and event.iteration > self._known[type(event)]:
            self._tracker.log_metrics(metrics, event.iteration)
            self._known[type(event)] = event.iteration


class Reporter:
    """Reports one run. `terminal` and `tracker` may be absent here and live in another process.

    `summary` is set, and written to `summary.json`, once the run has finished.
    """

    def __init__(self, info: RunInfo, tracker: Tracker, terminal: Terminal | None = None) -> None:
        self._info, self._tracker, self._terminal = info, tracker, terminal
        self._diagnostics = Diagnostics(info)
        self._history = History.read(info.folder)
        self._started: RunStarted | None = None
        self._checkpoint: Path | None = None
        self.warnings: tuple[RunWarning, ...] = ()
        self.summary: RunSummary | None = None

    def show_masks(self, panels: Sequence[tuple[str, NDArray[np.bool_]]]) -> None:
        """Plot each stage's masks, bool (rows, T), into the run folder and the tracker."""
        path = self._info.folder / "figures" / "masks.png"
        save_plot(masks_plot(panels), path)
        self._tracker.log_artifact(path, "figures")

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started, self._checkpoint = event, event.resumed_from
        elif isinstance(event, CheckpointSaved):
            self._checkpoint = event.path
        self._history = self._history.after(event)
        if isinstance(event, EvaluationDone | StageAdvanced | StepSkipped | RolledBack):
            self._history.write(self._info.folder)
        if self._terminal:
            self._terminal.handle(event)
        for warning in self._diagnostics.check(event):
            self.warnings += (warning,)
            if self._terminal and not isinstance(event, RunFinished):
                self._terminal.warn(warning)
        if isinstance(event, RunFinished):
            self._finished(event)

    def _finished(self, event: RunFinished) -> None:
        assert self._started is not None, "a run starts before it finishes"
        folder = self._info.folder
        summary = RunSummary.of(self._info, self._started, self._history, event, warnings=self.warnings, checkpoint=self._checkpoint)
        summary.write(folder)
        self._tracker.log_artifact(folder / "summary.json")
        for ending in ("png", "svg"):
            path = folder / "figures" / f"loss.{ending}"
            save_plot(loss_plot(self._history, self._info), path)
            self._tracker.log_artifact(path, "figures")
        if event.evaluation.confusion and self._info.classes:
            path = folder / "figures" / "confusion.png"
            title = f"{self._info.name}: classes of the held-out texts"
            save_plot(confusion_plot(event.evaluation.confusion, self._info.classes, title), path)
            self._tracker.log_artifact(path, "figures")
        if event.sample:
            self._tracker.log_text(event.sample, "samples/final.txt")
        self._tracker.describe(summary_markdown(summary))
        self.summary = summary
        if self._terminal:
            self._terminal.summary(summary)
