"""A sweep's trials as a table: the finished ones by their final NELBO, then the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from masklab.reporting.numbers import figure
from masklab.reporting.sweep.record import SweepRecord, TrialRecord

COLUMNS = ("trial", "NELBO nats/char", "bits/char")


def rows(record: SweepRecord) -> list[tuple[str, ...]]:
    """The head, then a row for each trial."""
    others = [trial for trial in record.trials if trial not in record.ranked]
    keys = list(record.space)
    return [(*COLUMNS, *keys, "status"), *(_cells(trial, keys) for trial in (*record.ranked, *others))]


def text_table(record: SweepRecord) -> Iterator[str]:
    """The rows as aligned lines."""
    table = rows(record)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def markdown_table(record: SweepRecord) -> str:
    """The rows as a table of Markdown."""
    head, *body = rows(record)
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)


def lineage_lines(record: SweepRecord) -> Iterator[str]:
    """A line for each takeover within a population, and how many trials each of the first ones has become."""
    for trial, takeover in record.takeovers:
        yield f"{trial.name} {takeover.described()}"
    if record.takeovers:
        descendants = Counter(record.ancestors().values())
        yield "descended from " + ", ".join(f"{root:03d}: {number}" for root, number in descendants.most_common())


def _cells(trial: TrialRecord, keys: list[str]) -> tuple[str, ...]:
    nats = f"{figure(trial.nelbo_nats, 4)} ± {figure(trial.nelbo_stderr, 4)}" if trial.status == "finished" else "–"
    status = f"{trial.status}: {trial.reason}" if trial.reason else trial.status
    return trial.name, nats, figure(trial.nelbo_bpc, 4), *(str(trial.values.get(key, "–")) for key in keys), status
