"""What went wrong in a comparison, and what its runs noticed, a line each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from masklab.reporting.comparison.findings import Findings, finished
from masklab.reporting.comparison.numbers import counted

MOST_NOTICED, MOST_NAMED = 8, 3
"""Things that runs noticed, and arms in which, that are named without being asked for."""


def failures(findings: Findings) -> tuple[str, ...]:
    """The runs that failed or were cut off with the reason, and files that a report lacks."""
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
    """What looked wrong in the runs that finished, each once with the runs that it was seen in."""
    seen: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for run in findings.record.runs:
        for words in run.outcome.troubles if run.outcome else ():
            seen[words][run.arm].append(run.seed)
    return tuple(f"{words} ({_where(arms)})" for words, arms in seen.items())


def _where(arms: Mapping[str, Sequence[int]]) -> str:
    if len(arms) > MOST_NAMED:
        return f"{counted(sum(map(len, arms.values())), 'run')} of {len(arms)} arms"
    return "; ".join(f"{arm}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}" for arm, seeds in arms.items())
