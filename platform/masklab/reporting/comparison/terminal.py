"""The progress of a comparison: one live line in a terminal, else a plain line for each run."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.status import Status
from rich.text import Text

from masklab.reporting.comparison.findings import Findings, finished
from masklab.reporting.comparison.record import ArmRecord, ComparisonRecord, RunRecord
from masklab.reporting.comparison.tables import text_table
from masklab.reporting.numbers import counted, duration, fixed

MOST_NOTICED, MOST_NAMED = 8, 3
"""Things that runs noticed, and arms in which, that are named without being asked for."""


def failures(findings: Findings) -> tuple[str, ...]:
    """A line for each failed or interrupted run, and for each file that could not be read."""
    record = findings.record
    failed = [
        f"{run.arm}, seed {run.seed}, {run.status}: {run.reason or 'no reason is known'}"
        for run in record.runs
        if run.status in ("failed", "interrupted")
    ]
    unread = [f"{arm}, seed {seed}: {words}" for (arm, seed), files in findings.files.items() for words in files.unread]
    curveless = [
        f"{r.arm}, seed {r.seed}: no learning curve"
        for r in record.runs
        if finished(r) and r.seed not in findings.learning_curves.get(r.arm, {})
    ]
    return (*failed, *unread, *curveless)


def noticed(findings: Findings) -> tuple[str, ...]:
    """The warnings of finished runs, each once with the runs that gave it."""
    seen: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for run in findings.record.runs:
        for words in run.outcome.warnings if run.outcome else ():
            seen[words][run.arm].append(run.seed)
    return tuple(f"{words} ({_where(arms)})" for words, arms in seen.items())


def _where(arms: Mapping[str, Sequence[int]]) -> str:
    if len(arms) > MOST_NAMED:
        return f"{counted(sum(map(len, arms.values())), 'run')} of {len(arms)} arms"
    return "; ".join(f"{arm}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}" for arm, seeds in arms.items())


class ComparisonTerminal:
    """Prints the progress of a comparison, `parallel` runs at a time. `close` removes the live line."""

    def __init__(self, parallel: int, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(highlight=False)
        self._parallel, self._clock, self._ended = parallel, clock, 0
        self._began = clock()
        self._live: Status | None = None

    def begin(self, record: ComparisonRecord) -> None:
        budget = f"{record.budget.amount:,.12g} {record.budget.unit.removeprefix('max_').replace('_', ' ')}"
        self._say(
            Text.assemble((record.name, "bold"), f"   {len(record.arms)} arms x {len(record.seeds)} seeds, each run {budget}, ")
            + Text(f"{self._parallel} at a time")
        )
        width = max(len(arm.name) for arm in record.arms)
        for arm in record.arms:
            self._say(Text(f"  {arm.name:<{width}}  {_purpose(arm)}"))
        for left_out in record.left_out:
            self._say(Text(f"  without {left_out.controls_for}, {left_out.control}: {left_out.reason}", style="dim"))
        if self.console.is_terminal:
            self._live = self.console.status(self.line(record))
            self._live.start()

    def ended(self, record: ComparisonRecord, run: RunRecord) -> None:
        """Print how a run ended and the progress so far."""
        self._ended += 1
        name = f"{run.arm}/seed-{run.seed}"
        if run.status == "failed":
            self._say(Text.assemble(("failed  ", "bold yellow"), f"{name}: {run.reason}"))
        elif run.outcome and not self._live:
            o = run.outcome
            nelbo = f"{name}  {fixed(o.nelbo_nats, 4)} ± {fixed(o.nelbo_stderr, 4)} nats in {duration(o.train_seconds)}"
            self._say(Text(f"{nelbo}   {self.line(record)}"))
        self.show(record)

    def show(self, record: ComparisonRecord) -> None:
        if self._live:
            self._live.update(self.line(record))

    def line(self, record: ComparisonRecord) -> str:
        """E.g. `3 of 12 runs done, 2 running, 0 failed   best sticky/seed-1 2.3456 nats   1:40 left`."""
        counts = {status: sum(run.status == status for run in record.runs) for status in ("finished", "running", "failed")}
        words = f"{counts['finished']} of {len(record.runs)} runs done, {counts['running']} running, {counts['failed']} failed"
        best = min(_finished_runs(record.runs), default=None)
        if best:
            words += f"   best {best[1]} {best[0]:.4f} nats"
        left = sum(run.status in ("waiting", "running", "interrupted") for run in record.runs)
        return f"{words}   {duration(self._seconds_left(left))} left"

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _seconds_left(self, runs: int) -> float:
        """Extrapolated from the runs that have ended since the start."""
        if not runs:
            return 0.0
        return (self._clock() - self._began) / self._ended * runs if self._ended else math.inf

    def _say(self, words: Text) -> None:
        self.console.print(words, soft_wrap=not self.console.is_terminal)


def show_findings(findings: Findings, console: Console) -> None:
    """The end of a comparison: one line per arm with its verdict, then failures and warnings."""
    head, *rows = text_table(findings.record)
    words = [Text(head, style="dim"), *map(Text, rows)]
    words += [Text.assemble(("warning  ", "bold yellow"), line) for line in failures(findings)]
    warnings = noticed(findings)
    words += [Text.assemble(("notice  ", "bold yellow"), line) for line in warnings[:MOST_NOTICED]]
    if len(warnings) > MOST_NOTICED:
        words.append(Text(f"{counted(len(warnings) - MOST_NOTICED, 'further notice')} in the report"))
    for line in words:
        console.print(line, soft_wrap=True)


def _purpose(arm: ArmRecord) -> str:
    return f"control of {arm.controls_for}: {arm.question}" if arm.controls_for else arm.description


def _finished_runs(runs: Sequence[RunRecord]) -> list[tuple[float, str]]:
    finished = [(run, run.outcome) for run in runs if run.status == "finished" and run.outcome]
    return [(o.nelbo_nats, f"{run.arm}/seed-{run.seed}") for run, o in finished if o.nelbo_nats is not None]
