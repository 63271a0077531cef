"""A comparison's final figures in a few lines: each arm's mean over its seeds, and what it has above the baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from masklab.comparison.contrast import Contrast
from masklab.comparison.outcomes import Outcomes
from masklab.reporting.comparison.comparison_families import families_of
from masklab.reporting.comparison.numbers import MISSING, decimals, signed
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.numbers import figure

WORDS = (0, 5)
"""The columns that hold words, not figures."""


@dataclass(frozen=True)
class ArmRow:
    """One arm: its finished runs, their mean NELBO in nats per character, and its contrast to the baseline where there is one."""

    arm: str
    runs: int
    nats: float | None
    contrast: Contrast | None
    verdict: str

    def cells(self) -> tuple[str, ...]:
        """As `columns` has them."""
        return self.arm, str(self.runs), figure(self.nats, 4), *_apart(self.contrast), self.verdict


def columns(record: ComparisonRecord) -> tuple[str, ...]:
    """The heads of the columns."""
    return "arm", "seeds", "NELBO, nats", f"to {record.baseline}" if record.baseline else "difference", "95 % interval", "verdict"


def arm_rows(record: ComparisonRecord) -> tuple[ArmRow, ...]:
    """The arms in their order. The verdicts are those of the report, each corrected within its own family of contrasts."""
    outcomes = Outcomes.of(record.figures())
    curricula, _, controls = families_of(record, outcomes)
    found = {contrast.arm: contrast for contrast in (*curricula.tested, *controls.tested)}
    rows = []
    for arm in (arm.name for arm in record.arms):
        runs = sum(figure is not None for figure in record.figures()[arm].values())
        contrast = found.get(arm)
        verdict = "baseline" if arm == record.baseline else contrast.verdict.value if contrast else "no verdict"
        rows.append(ArmRow(arm, runs, outcomes.mean(arm), contrast, verdict))
    return tuple(rows)


def text_table(record: ComparisonRecord) -> Iterator[str]:
    """The rows as aligned lines."""
    rows = [columns(record), *(row.cells() for row in arm_rows(record))]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        yield "  ".join(cell.ljust(width) if i in WORDS else cell.rjust(width) for i, (cell, width) in cells).rstrip()


def markdown_table(record: ComparisonRecord) -> str:
    """The rows as a table of Markdown."""
    heads = columns(record)
    rule = tuple("---" if i in WORDS else "---:" for i in range(len(heads)))
    rows = [heads, rule, *(row.cells() for row in arm_rows(record))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _apart(contrast: Contrast | None) -> tuple[str, str]:
    """The difference and its interval; below zero where the arm is better."""
    if contrast is None:
        return MISSING, MISSING
    digits = decimals(contrast.stderr)
    return signed(contrast.difference, digits), f"{signed(contrast.low, digits)} to {signed(contrast.high, digits)}"
