"""The progress of a run: a live bar in a terminal, else a few plain lines.

A table of the stages comes with each evaluation, a reason with each change of stage, and a summary at the end.
"""

from __future__ import annotations

import math

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from masklab.curriculum.progress import Decision
from masklab.reporting.numbers import duration, fixed, in_a_line, rate, si, title_of, written
from masklab.reporting.run.diagnostics import RunWarning
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import summary_block, transfer_table
from masklab.training.checkpoint.manifest import DAMAGED
from masklab.training.events import (
    EvaluationDone,
    Event,
    RolledBack,
    RunFinished,
    RunStarted,
    RunStopped,
    StageAdvanced,
    StepDone,
    StepSkipped,
    Unfrozen,
    WorkersReplaced,
)

LINE_EVERY_SHARE, LINE_EVERY_SECONDS, LINE_AT_LATEST_SECONDS = 0.05, 5.0, 60.0
SKIPS_SHOWN = 5
"""Lines about skipped steps; the total is in the summary."""


class Terminal:
    """Shows one run's events on `console`. `close` removes the progress bar."""

    def __init__(self, info: RunInfo, console: Console | None = None) -> None:
        self._info = info
        self.console = console or Console(highlight=False)
        self._is_live = self.console.is_terminal
        self._bar = _bar(self.console) if self._is_live else None
        self._task = self._bar.add_task("training", total=1.0, loss="–", stage="–", speed="", left="–") if self._bar else None
        self._best: dict[int, float] = {}
        self._skips_shown = 0
        self._last_line: tuple[float, float] | None = None
        """Budget share and elapsed seconds at the last plain line of training metrics."""
        self._is_started = False

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started(event)
        elif isinstance(event, Unfrozen):
            self._say(Text(f"iteration {event.iteration:,}: all {event.parameters:,} parameters are trained from here on"))
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, StepSkipped):
            self._skipped(event)
        elif isinstance(event, RolledBack):
            self._rolled_back(event)
        elif isinstance(event, EvaluationDone):
            self._evaluation(event)
        elif isinstance(event, StageAdvanced):
            title = self._info.stages[event.begun].title
            self._say(Text.assemble((f"stage {event.begun} of {self._last_stage}", "bold"), f" begins: {title}   ", (event.reason, "dim")))
        elif isinstance(event, WorkersReplaced):
            self._replaced(event)
        elif isinstance(event, RunFinished | RunStopped):
            self.close()

    def _replaced(self, event: WorkersReplaced) -> None:
        begin = f"from iteration {event.iteration:,}" if event.iteration else "from the beginning"
        workers = "1 worker" if event.workers == 1 else f"{event.workers} workers"
        self._say(Text.assemble(("notice  ", "bold yellow"), f"{event.reason}; the run goes on {begin} with {workers}"))

    def warn(self, warning: RunWarning) -> None:
        self._say(Text.assemble(("notice  ", "bold yellow"), warning.words))

    def summary(self, summary: RunSummary) -> None:
        self.close()
        self.console.print(summary_block(summary))

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def _last_stage(self) -> int:
        return len(self._info.stages) - 1

    def _say(self, words: RenderableType) -> None:
        """Print above the bar; outside a terminal, lines are never broken."""
        self.console.print(words, soft_wrap=not self._is_live and isinstance(words, Text))

    def _started(self, event: RunStarted) -> None:
        if self._is_started:  # other workers go on with it
            return
        self._is_started = True
        where = f", resumed at iteration {event.iteration:,} from {event.resumed_from}" if event.resumed_from else ""
        self._say(
            Text.assemble(
                (self._info.name, "bold"),
                f"   curriculum {self._info.curriculum}, {si(event.parameters)} parameters on {event.device}{where}",
            )
        )
        for flaw in event.set_aside:
            self._say(Text.assemble(("notice  ", "bold yellow"), f"checkpoint {flaw}; it is now called {DAMAGED}{flaw.partition(':')[0]}"))
        if event.transfer or event.trainable not in (None, event.parameters):
            self._say(transfer_table(event))
        for i, stage in enumerate(self._info.stages):
            self._say(Text(f"  stage {i}  {stage.title}", style="" if i == event.stage else "dim"))
        if self._bar:
            self._bar.start()

    def _step(self, event: StepDone) -> None:
        stage, speed, left = (
            f"{event.stage}/{self._last_stage}",
            f"{rate(event.chars_per_second)} chars/s",
            duration(event.remaining_seconds),
        )
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=event.budget_used, loss=fixed(event.loss, 3), stage=stage, speed=speed, left=left)
        elif self._line_is_due(event):
            self._last_line = (event.budget_used, event.elapsed_seconds)
            self._say(
                Text(
                    f"{event.budget_used:4.0%}  iteration {event.iteration:>6,}  loss {fixed(event.loss, 4)}  stage {stage}  "
                    f"{speed}  {left} left"
                )
            )

    def _skipped(self, event: StepSkipped) -> None:
        self._skips_shown += 1
        if self._skips_shown > SKIPS_SHOWN:
            return
        more = "; further ones are counted and shown at the end" if self._skips_shown == SKIPS_SHOWN else ""
        words = f"iteration {event.iteration:,}: {event.skip.batches} skipped, no weight was changed: {event.skip.words}{more}"
        self._say(Text(words, style="yellow"))

    def _rolled_back(self, event: RolledBack) -> None:
        back = event.rollback
        place = f"the weights of iteration {back.to:,}" if back.to else "the first weights"
        rate = "" if back.lr_factor == 1 else f", at {back.lr_factor:.3g} times the learning rate"
        self._say(
            Text.assemble(
                (f"iteration {event.iteration:,}: back to {place}{rate}, and on with the next batches", "bold yellow"), f"   {back.words}"
            )
        )

    def _line_is_due(self, event: StepDone) -> bool:
        if self._last_line is None:
            return True
        share, seconds = event.budget_used - self._last_line[0], event.elapsed_seconds - self._last_line[1]
        return (share >= LINE_EVERY_SHARE and seconds >= LINE_EVERY_SECONDS) or seconds >= LINE_AT_LATEST_SECONDS

    def _evaluation(self, event: EvaluationDone) -> None:
        scores = event.evaluation.stages
        for i, score in enumerate(scores):
            best = self._best.get(i, math.inf)
            self._best[i] = score.loss if score.loss < best else best
        # StageAdvanced shows the reason
        reason = "" if event.decision is Decision.NEXT_STAGE else event.reason
        if self._is_live:
            parts: list[RenderableType] = [Text(evaluation_line(event), style="bold"), self._stage_table(event)]
            self._say(Group(*parts, Text(f"  {reason}", style="dim")) if reason else Group(*parts))
        else:
            losses = " ".join(fixed(score.loss, 3) for score in scores)
            self._say(Text(f"{evaluation_line(event)}  [{losses}]  {reason}".rstrip()))

    def _stage_table(self, event: EvaluationDone) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("  stage", no_wrap=True, overflow="ellipsis", max_width=max(20, self.console.width - 46))
        names = list(event.evaluation.stages[0].metrics)[:2]
        for name in ("loss", "best", *map(title_of, names)):
            table.add_column(name, justify="right", no_wrap=True)
        trained = self._info.mixed[event.stage] if self._info.pools_match_stages() else ()
        for i, (stage, score) in enumerate(zip(self._info.validation, event.evaluation.stages, strict=True)):
            mark, style = ("▸", "") if i in trained else (" ", "dim" if trained else "")
            table.add_row(
                Text(f"{mark} {i} {stage.title}"),
                fixed(score.loss, 3),
                fixed(self._best[i], 3),
                *(written(name, score.metrics[name]) for name in names),
                style=style,
            )
        return table


def evaluation_line(event: EvaluationDone) -> str:
    """The metrics of an evaluation that compare across curricula, in one line."""
    e = event.evaluation
    bound = f"{e.nelbo.name} {fixed(e.nelbo.bpc, 3)} bits/char  " if e.nelbo else ""
    begin = f"{event.budget_used:4.0%}  iteration {event.iteration:>6,}  validation {fixed(e.loss, 4)}  "
    return f"{begin}{bound}{in_a_line(e.metrics)}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.percentage:>3.0f}%"),
        BarColumn(bar_width=None),
        TextColumn("loss [bold]{task.fields[loss]}"),
        TextColumn("stage {task.fields[stage]}"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("[dim]{task.fields[left]} left"),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=4,
    )
