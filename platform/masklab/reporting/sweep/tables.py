"""A sweep's trials as a table: the finished ones by their final NELBO, then the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.status import Status
from rich.text import Text

from masklab.reporting.numbers import MISSING, duration, fixed, si
from masklab.reporting.sweep.record import Exploit, SweepRecord, TrialRecord
from masklab.reporting.tables import aligned_lines, markdown_table

COLUMNS = ("trial", "NELBO nats/char", "bits/char")


def text_table(record: SweepRecord) -> Iterator[str]:
    return aligned_lines(*_head_and_rows(record))


def markdown_trials(record: SweepRecord) -> str:
    return markdown_table(*_head_and_rows(record))


def _head_and_rows(record: SweepRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    others = [trial for trial in record.trials if trial not in record.ranked]
    keys = list(record.space)
    return (*COLUMNS, *keys, "status"), [_cells(trial, keys) for trial in (*record.ranked, *others)]


def lineage_lines(record: SweepRecord) -> Iterator[str]:
    """A line per exploit of a population, and how many trials descend from each initial one."""
    for trial, exploit in record.exploits:
        yield f"{trial.name} {exploit.described()}"
    if record.exploits:
        descendants = Counter(record.ancestors().values())
        yield "descended from " + ", ".join(f"{root:03d}: {number}" for root, number in descendants.most_common())


def _cells(trial: TrialRecord, keys: list[str]) -> tuple[str, ...]:
    nats = f"{fixed(trial.nelbo_nats, 4)} ± {fixed(trial.nelbo_stderr, 4)}" if trial.status == "finished" else MISSING
    status = f"{trial.status}: {trial.reason}" if trial.reason else trial.status
    return trial.name, nats, fixed(trial.nelbo_bpc, 4), *(str(trial.values.get(key, MISSING)) for key in keys), status


class SweepTerminal:
    """Prints the progress of a sweep of `trials` trials, `parallel` at a time. `close` removes the live line."""

    def __init__(self, trials: int, parallel: int, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._trials, self._parallel = trials, parallel
        self._live: Status | None = None

    def begin(self, record: SweepRecord) -> None:
        self._say(
            Text.assemble((record.name, "bold"), f"   {self._trials} trials, {record.search}, each {record.budget}, ")
            + Text(f"{self._parallel} at a time")
        )
        width = max(len(key) for key in record.space)
        for key, distribution in record.space.items():
            self._say(Text(f"  {key:<{width}}  {distribution}"))
        if self.console.is_terminal:
            self._live = self.console.status(Text(self.line(record)))
            self._live.start()

    def warn(self, words: str) -> None:
        self._say(Text.assemble(("warning  ", "bold yellow"), words))

    def ended(self, record: SweepRecord, trial: TrialRecord) -> None:
        """Print how a trial ended and the progress so far."""
        self.show(record)
        if trial.status == "failed":
            self._say(Text.assemble(("failed  ", "bold yellow"), f"{trial.name}  {trial.described()}: {trial.reason}"))
            return
        nelbo = f"{fixed(trial.nelbo_nats, 4)} nats"
        if trial.status == "finished":
            nelbo = f"{fixed(trial.nelbo_nats, 4)} ± {fixed(trial.nelbo_stderr, 4)} nats in {duration(trial.train_seconds)}"
        elif trial.status == "stopped":
            nelbo += f", stopped after {si(trial.chars)} characters"
        progress = "" if self._live else f"   {self.line(record)}"
        self._say(Text(f"{trial.name}  {nelbo}   {trial.described()}{progress}"))

    def exploited(self, trial: TrialRecord, exploit: Exploit) -> None:
        nats = f"{fixed(exploit.nelbo_nats, 4)} -> {fixed(exploit.donor_nelbo_nats, 4)} nats"
        self._say(Text(f"{trial.name}  exploits {exploit.donor:03d} after {si(exploit.chars)} characters, {nats}   {exploit.changes()}"))

    def show(self, record: SweepRecord) -> None:
        if self._live:
            self._live.update(Text(self.line(record)))

    def line(self, record: SweepRecord) -> str:
        """E.g. `3 of 8 done, best 001 2.3456   004 2.5012 after 1.20M characters`."""
        over = sum(trial.status in ("finished", "stopped", "failed") for trial in record.trials)
        best = f", best {record.best.name} {fixed(record.best.nelbo_nats, 4)}" if record.best else ""
        running = [trial for trial in record.trials if trial.status == "running"]
        under_way = (f"   {trial.name} {fixed(trial.nelbo_nats, 4)} after {si(trial.chars)} characters" for trial in running)
        return f"{over} of {self._trials} done{best}" + ("".join(under_way) if self._live else "")

    def close(self) -> None:
        if self._live:
            self._live.stop()

    def _say(self, words: Text) -> None:
        self.console.print(words, soft_wrap=not self.console.is_terminal)
