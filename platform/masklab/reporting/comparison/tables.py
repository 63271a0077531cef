"""The tables of a comparison's report. A dash stands for what there is not."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from masklab.comparison.reach import reach, targets
from masklab.comparison.verdict import Verdict
from masklab.reporting.comparison.blocks import Table
from masklab.reporting.comparison.comparison_families import Family, Pair
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.numbers import (
    MISSING,
    amount_words,
    decimals,
    detectable_words,
    mean_amount,
    probability,
    seeds_words,
    signed,
    spread,
)
from masklab.reporting.comparison.record import OutcomeRecord
from masklab.reporting.numbers import duration, figure

VERDICT_COLUMNS = (
    *("arm", "against", "difference, nats", "%", "95 % interval", "p (Holm)", "p (flips)"),
    *("seeds", "seeds needed", "detectable", "verdict"),
)
TARGETS = 5
SPENDING = ("characters", "masked characters", "FLOPs", "seconds", "iterations")


def verdict_table(family: Family) -> Table:
    """A row for each pair of a family."""
    rows = tuple(_verdict_row(pair) for pair in family.pairs)
    decided = (Verdict.BETTER, Verdict.WORSE)
    strong = frozenset(i for i, pair in enumerate(family.pairs) if pair.contrast and pair.contrast.verdict in decided)
    return Table(VERDICT_COLUMNS, rows, words=2, strong=strong)


def _verdict_row(pair: Pair) -> tuple[str, ...]:
    c = pair.contrast
    if c is None:
        return (pair.arm, pair.baseline, *[MISSING] * 8, "no verdict")
    digits = decimals(c.stderr)
    return (
        c.arm,
        c.baseline,
        f"{signed(c.difference, digits)} ± {c.stderr:.{digits}f}",
        MISSING if c.percent is None else signed(c.percent, 2),
        f"{signed(c.low, digits)} to {signed(c.high, digits)}",
        probability(c.p_holm),
        probability(c.p_sign_flip),
        str(len(c.seeds)) if len(c.seeds) == c.asked else f"{len(c.seeds)} of {c.asked}",
        seeds_words(c),
        detectable_words(c),
        c.verdict.value,
    )


def figures_table(findings: Findings) -> Table:
    """The final figures of each arm, means over its seeds, with deviations between seeds."""
    compared = {group.curriculum for group in findings.groups} | {findings.record.baseline}
    rows = tuple(_figures_row(findings, arm.name) for arm in findings.record.arms)
    strong = frozenset(i for i, arm in enumerate(findings.record.arms) if arm.name in compared)
    columns = ("arm", "seeds", "NELBO, nats", "bits", "mask error", "masked characters", "characters", "FLOPs", "time")
    return Table(columns, rows, strong=strong)


def _figures_row(findings: Findings, arm: str) -> tuple[str, ...]:
    outcomes = _outcomes(findings, arm)
    seconds = [o.train_seconds for o in outcomes if o.train_seconds is not None]
    return (
        arm,
        str(len(outcomes)),
        spread([o.nelbo_nats for o in outcomes], 4),
        spread([o.nelbo_bpc for o in outcomes], 4),
        figure(_mean(o.nelbo_stderr for o in outcomes), 4),
        mean_amount([o.masked_chars for o in outcomes]),
        mean_amount([o.chars for o in outcomes]),
        mean_amount([o.flops for o in outcomes]),
        duration(statistics.fmean(seconds)) if seconds else MISSING,
    )


def spending_table(findings: Findings) -> Table:
    """What the arms spent, by each measure: the arm that spent least and the one that spent most, means over seeds."""
    spent = {arm.name: _spent(_outcomes(findings, arm.name)) for arm in findings.record.arms}
    rows = []
    for measure in SPENDING:
        known = [(value, arm) for arm, by in spent.items() if (value := by[measure]) is not None]
        if known:
            (low, least), (high, most) = min(known), max(known)
            alike = math.isclose(low, high)
            ends = ("all alike", "") if alike else (f"({least})", f"({most})")
            ratio = f"{high / low:.3g}" if low else MISSING
            rows.append((measure, f"{amount_words(low)} {ends[0]}", MISSING if alike else f"{amount_words(high)} {ends[1]}", ratio))
    return Table(("measure", "least", "most", "most / least"), tuple(rows))


def targets_table(findings: Findings) -> Table:
    """The median budget after which the curricula and the baseline stay below each target, with the share of seeds where not all do."""
    curves = findings.learning_curves
    arms = [arm for arm in (findings.record.baseline, *(group.curriculum for group in findings.groups)) if arm in curves]
    aims = targets([curve for arm in arms for curve in curves[str(arm)].values()], TARGETS)
    rows = []
    for aim in aims:
        reached = [reach(list(curves[str(arm)].values()), aim, lasting=True) for arm in arms]
        words = [MISSING if r.median is None else amount_words(r.median) for r in reached]
        shares = ["" if r.reached == r.runs else f" ({r.reached} of {r.runs})" for r in reached]
        rows.append((f"{aim:.3f}", *(word + share for word, share in zip(words, shares, strict=True))))
    return Table(("target, nats", *map(str, arms)), tuple(rows))


def dwell_table(findings: Findings) -> Table:
    """How long each stage of the arms with several was trained, and why it ended."""
    return Table(("arm", "stage", "iterations", "share", "ended because"), tuple(_dwell_rows(findings)), words=2)


def mean_dwell(findings: Findings, arm: str) -> tuple[float, ...]:
    """Iterations of each stage, the mean over seeds; empty without a finished run."""
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
    """The reasons, the commonest first, with their counts where there are several."""
    counts = Counter(reason for reason in reasons if reason).most_common(2)
    if len(counts) == 1 and counts[0][1] == len(reasons):
        return counts[0][0]
    return "; ".join(f"{reason} ({count} of {len(reasons)})" for reason, count in counts) or MISSING


def runs_table(findings: Findings) -> Table:
    """Every run with its figures and the hash of all rows and masks that it saw."""
    columns = ("arm", "seed", "status", "NELBO, nats", "mask error", "iterations", "characters", "time", "device", "batches")
    rows = []
    for run in findings.record.runs:
        o = run.outcome
        told = (
            (figure(o.nelbo_nats, 4), figure(o.nelbo_stderr, 4), f"{o.iterations:,}", f"{o.chars:,}", duration(o.train_seconds))
            if o
            else (MISSING,) * 5
        )
        rows.append((run.arm, str(run.seed), run.status, *told, o.device if o else MISSING, o.batches_digest[:16] if o else MISSING))
    return Table(columns, tuple(rows))


def _outcomes(findings: Findings, arm: str) -> list[OutcomeRecord]:
    return [run.outcome for run in findings.finished_runs(arm) if run.outcome]


def _iterations(findings: Findings, arm: str) -> list[list[int]]:
    return [[dwell.iterations for dwell in outcome.dwell] for outcome in _outcomes(findings, arm)]


def _spent(outcomes: Sequence[OutcomeRecord]) -> dict[str, float | None]:
    figures = ("chars", "masked_chars", "flops", "train_seconds", "iterations")
    return {measure: _mean(getattr(o, name) for o in outcomes) for measure, name in zip(SPENDING, figures, strict=True)}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
