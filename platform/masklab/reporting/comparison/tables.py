"""The tables of a comparison's report. A dash stands for a missing value."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from masklab.comparison.contrast import Contrast, Verdict
from masklab.comparison.curves import reach, targets
from masklab.comparison.outcomes import Outcomes
from masklab.reporting.comparison.blocks import Table
from masklab.reporting.comparison.findings import Family, Findings, Pair, families_of
from masklab.reporting.comparison.record import ComparisonRecord, OutcomeRecord
from masklab.reporting.numbers import (
    MISSING,
    amount,
    decimals_of,
    duration,
    fixed,
    mean_of,
    probability,
    seeds_needed,
    seeds_used,
    signed,
    spread,
)
from masklab.reporting.tables import aligned_lines, markdown_table

VERDICT_COLUMNS = (
    *("arm", "against", "difference, nats", "%", "95 % interval", "p (Holm)", "p (flips)"),
    *("seeds", "seeds needed", "detectable", "verdict"),
)
TARGETS = 5
SPENDING = ("characters", "masked characters", "FLOPs", "seconds", "iterations")


def verdict_table(family: Family) -> Table:
    rows = tuple(_verdict_row(pair) for pair in family.pairs)
    decided = (Verdict.BETTER, Verdict.WORSE)
    strong = frozenset(i for i, pair in enumerate(family.pairs) if pair.contrast and pair.contrast.verdict in decided)
    return Table(VERDICT_COLUMNS, rows, words=2, strong=strong)


def _verdict_row(pair: Pair) -> tuple[str, ...]:
    c = pair.contrast
    if c is None:
        return (pair.arm, pair.baseline, *[MISSING] * 8, "no verdict")
    digits = decimals_of(c)
    return (
        c.arm,
        c.baseline,
        f"{signed(c.difference, digits)} ± {fixed(c.stderr, digits)}",
        MISSING if c.percent is None else signed(c.percent, 2),
        f"{signed(c.low, digits)} to {signed(c.high, digits)}",
        probability(c.p_holm),
        probability(c.p_sign_flip),
        seeds_used(c),
        seeds_needed(c),
        fixed(c.detectable, digits),
        c.verdict.value,
    )


def final_table(findings: Findings) -> Table:
    """The final metrics of each arm: means over its seeds, ± standard deviation between seeds."""
    compared = {group.curriculum for group in findings.groups} | {findings.record.baseline}
    rows = tuple(_final_row(findings, arm.name) for arm in findings.record.arms)
    strong = frozenset(i for i, arm in enumerate(findings.record.arms) if arm.name in compared)
    columns = ("arm", "seeds", "NELBO, nats", "bits", "mask error", "masked characters", "characters", "FLOPs", "time")
    return Table(columns, rows, strong=strong)


def _final_row(findings: Findings, arm: str) -> tuple[str, ...]:
    outcomes = _outcomes(findings, arm)
    return (
        arm,
        str(len(outcomes)),
        spread([o.nelbo_nats for o in outcomes], 4),
        spread([o.nelbo_bpc for o in outcomes], 4),
        fixed(mean_of([o.nelbo_stderr for o in outcomes]), 4),
        _amount([o.masked_chars for o in outcomes]),
        _amount([o.chars for o in outcomes]),
        _amount([o.flops for o in outcomes]),
        duration(mean_of([o.train_seconds for o in outcomes])),
    )


def spending_table(findings: Findings) -> Table:
    """By each measure of cost, the arm that spent least and the one that spent most, means over seeds."""
    spent = {arm.name: _spent(_outcomes(findings, arm.name)) for arm in findings.record.arms}
    rows = []
    for measure in SPENDING:
        known = [(value, arm) for arm, by in spent.items() if (value := by[measure]) is not None]
        if known:
            (low, least), (high, most) = min(known), max(known)
            alike = math.isclose(low, high)
            ends = ("all alike", "") if alike else (f"({least})", f"({most})")
            ratio = f"{high / low:.3g}" if low else MISSING
            rows.append((measure, f"{amount(low)} {ends[0]}", MISSING if alike else f"{amount(high)} {ends[1]}", ratio))
    return Table(("measure", "least", "most", "most / least"), tuple(rows))


def targets_table(findings: Findings) -> Table:
    """The median budget after which the NELBO stays below each target, and the share of seeds that reach it if not all do."""
    curves = findings.learning_curves
    arms = [arm for arm in (findings.record.baseline, *(group.curriculum for group in findings.groups)) if arm in curves]
    aims = targets([curve for arm in arms for curve in curves[str(arm)].values()], TARGETS)
    rows = []
    for aim in aims:
        reached = [reach(list(curves[str(arm)].values()), aim) for arm in arms]
        words = [MISSING if r.median is None else amount(r.median) for r in reached]
        shares = ["" if r.reached == r.runs else f" ({r.reached} of {r.runs})" for r in reached]
        rows.append((f"{aim:.3f}", *(word + share for word, share in zip(words, shares, strict=True))))
    return Table(("target, nats", *map(str, arms)), tuple(rows))


def dwell_table(findings: Findings) -> Table:
    """How long each stage was trained, and why it ended, for arms with several stages."""
    return Table(("arm", "stage", "iterations", "share", "ended because"), tuple(_dwell_rows(findings)), words=2)


def mean_dwell(findings: Findings, arm: str) -> tuple[float, ...]:
    """Iterations of each stage, mean over seeds; empty without a finished run."""
    return tuple(statistics.fmean(run) for run in zip(*_iterations(findings, arm), strict=True))


def _dwell_rows(findings: Findings) -> Iterator[tuple[str, ...]]:
    for arm in findings.record.arms:
        parts = mean_dwell(findings, arm.name)
        outcomes = _outcomes(findings, arm.name)
        for stage in range(len(parts) if len(parts) > 1 else 0):
            own = [outcome.dwell[stage] for outcome in outcomes]
            fewest, most = min(d.iterations for d in own), max(d.iterations for d in own)
            span = f"{parts[stage]:,.0f}" if fewest == most else f"{parts[stage]:,.0f} ({fewest:,} to {most:,})"
            share = f"{parts[stage] / sum(parts):.0%}".replace("%", " %") if sum(parts) else MISSING
            yield arm.name, f"{stage}  {own[0].title}", span, share, _reasons([d.reason for d in own])


def _reasons(reasons: Sequence[str]) -> str:
    """The most frequent reasons, with counts if they differ between runs."""
    counts = Counter(reason for reason in reasons if reason).most_common(2)
    if len(counts) == 1 and counts[0][1] == len(reasons):
        return counts[0][0]
    return "; ".join(f"{reason} ({count} of {len(reasons)})" for reason, count in counts) or MISSING


def runs_table(findings: Findings) -> Table:
    """Every run with its metrics and the hash of all rows and masks that it saw."""
    columns = ("arm", "seed", "status", "NELBO, nats", "mask error", "iterations", "characters", "time", "device", "batches")
    rows = []
    for run in findings.record.runs:
        o = run.outcome
        metrics = (
            (fixed(o.nelbo_nats, 4), fixed(o.nelbo_stderr, 4), f"{o.iterations:,}", f"{o.chars:,}", duration(o.train_seconds))
            if o
            else (MISSING,) * 5
        )
        rows.append((run.arm, str(run.seed), run.status, *metrics, o.device if o else MISSING, o.batches_digest[:16] if o else MISSING))
    return Table(columns, tuple(rows))


def _outcomes(findings: Findings, arm: str) -> list[OutcomeRecord]:
    return [run.outcome for run in findings.finished_runs(arm) if run.outcome]


def _iterations(findings: Findings, arm: str) -> list[list[int]]:
    return [[dwell.iterations for dwell in outcome.dwell] for outcome in _outcomes(findings, arm)]


def _spent(outcomes: Sequence[OutcomeRecord]) -> dict[str, float | None]:
    names = ("chars", "masked_chars", "flops", "train_seconds", "iterations")
    return {measure: mean_of([getattr(o, name) for o in outcomes]) for measure, name in zip(SPENDING, names, strict=True)}


def _amount(values: Iterable[float | None]) -> str:
    mean = mean_of(list(values))
    return MISSING if mean is None else amount(mean)


RIGHT = (1, 2, 3, 4)
"""The columns that hold numbers."""


@dataclass(frozen=True)
class ArmRow:
    """One arm: number of finished runs, mean NELBO in nats per character, and its contrast to the baseline if there is one."""

    arm: str
    runs: int
    nats: float | None
    contrast: Contrast | None
    verdict: str

    def cells(self) -> tuple[str, ...]:
        return self.arm, str(self.runs), fixed(self.nats, 4), *_apart(self.contrast), self.verdict


def columns(record: ComparisonRecord) -> tuple[str, ...]:
    return "arm", "seeds", "NELBO, nats", f"to {record.baseline}" if record.baseline else "difference", "95 % interval", "verdict"


def arm_rows(record: ComparisonRecord) -> tuple[ArmRow, ...]:
    """The arms in their order, with the verdicts of the report."""
    outcomes = Outcomes.of(record.nelbos())
    curricula, _, controls = families_of(record, outcomes)
    found = {contrast.arm: contrast for contrast in (*curricula.tested, *controls.tested)}
    rows = []
    for arm in (arm.name for arm in record.arms):
        runs = sum(nelbo is not None for nelbo in record.nelbos()[arm].values())
        contrast = found.get(arm)
        verdict = "baseline" if arm == record.baseline else contrast.verdict.value if contrast else "no verdict"
        rows.append(ArmRow(arm, runs, outcomes.mean(arm), contrast, verdict))
    return tuple(rows)


def text_table(record: ComparisonRecord) -> Iterator[str]:
    return aligned_lines(columns(record), [row.cells() for row in arm_rows(record)], RIGHT)


def markdown_arms(record: ComparisonRecord) -> str:
    return markdown_table(columns(record), [row.cells() for row in arm_rows(record)], RIGHT)


def _apart(contrast: Contrast | None) -> tuple[str, str]:
    """The difference and its interval; below zero where the arm is better."""
    if contrast is None:
        return MISSING, MISSING
    digits = decimals_of(contrast)
    return signed(contrast.difference, digits), f"{signed(contrast.low, digits)} to {signed(contrast.high, digits)}"
