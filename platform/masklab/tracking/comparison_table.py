"""A comparison's final figures in a few lines: each arm's mean over its seeds, and what it has above the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from masklab.comparison.outcomes import Outcomes
from masklab.tracking.comparison_record import ComparisonRecord
from masklab.tracking.wording import figure

COLUMNS = ("arm", "seeds", "NELBO nats/char", "bits/char", "above the baseline")


@dataclass(frozen=True)
class ArmRow:
    """One arm: its finished runs, the means over them, and the mean paired difference with its standard error, nats per character."""

    arm: str
    runs: int
    nats: float | None
    bpc: float | None
    difference: float | None
    stderr: float | None

    def cells(self) -> tuple[str, ...]:
        """As `COLUMNS` has them."""
        above = "–" if self.difference is None else f"{self.difference:+.4f} ± {figure(self.stderr, 4)}"
        return self.arm, str(self.runs), figure(self.nats, 4), figure(self.bpc, 4), above


def arm_rows(record: ComparisonRecord) -> tuple[ArmRow, ...]:
    """The arms in their order; no difference where fewer than two seeds are common with the baseline."""
    outcomes = Outcomes.of(record.figures())
    return tuple(_row(record, outcomes, arm.name) for arm in record.arms)


def text_table(record: ComparisonRecord) -> Iterator[str]:
    """The rows as aligned lines."""
    rows = [COLUMNS, *(row.cells() for row in arm_rows(record))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()


def markdown_table(record: ComparisonRecord) -> str:
    """The rows as a table of Markdown."""
    rows = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(row.cells() for row in arm_rows(record))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(record: ComparisonRecord, outcomes: Outcomes, arm: str) -> ArmRow:
    finished = [run.outcome for run in record.runs if run.arm == arm and run.status == "finished" and run.outcome]
    bits = [outcome.nelbo_bpc for outcome in finished if outcome.nelbo_bpc is not None]
    known = ArmRow(arm, len(finished), outcomes.mean(arm), sum(bits) / len(bits) if bits else None, None, None)
    if record.baseline in (None, arm) or len(outcomes.common_seeds(arm, str(record.baseline))) < 2:
        return known
    difference = outcomes.difference(arm, str(record.baseline))
    return ArmRow(arm, known.runs, known.nats, known.bpc, difference.mean, difference.stderr)
