"""What a comparison has found, in plain words first and then in tables of contrasts."""

from __future__ import annotations

from collections.abc import Iterator

from masklab.comparison.verdict import Verdict
from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Heading, Paragraph
from masklab.reporting.comparison.findings import Findings, Group
from masklab.reporting.comparison.numbers import amount_words, counted, listed
from masklab.reporting.comparison.plots import Dots, forest_figure, picture
from masklab.reporting.comparison.tables import verdict_table
from masklab.reporting.comparison.verdict_text import conclusion, headline, reasons
from masklab.reporting.numbers import fixed

UNITS = {
    "max_chars": "characters",
    "max_masked_chars": "masked characters",
    "max_flops": "floating-point operations",
    "max_minutes": "minutes of training",
}
NOTE = (
    "Differences are those of runs under the same seed, below zero where the arm is better; ± is one standard error. The interval is for "
    "its pair alone, and the verdict rests on p of the paired t test after Holm's correction over the table. The sign-flip test beside it "
    "assumes less and needs more seeds. Seeds needed: how many would show a difference of this size, or of the margin where one is set, "
    "four times in five; detectable: the smallest difference that the present seeds would show as often."
)


def summary(findings: Findings) -> tuple[Block, ...]:
    """The answer with its table right beneath the first sentence, for where there is room for no more and the rest may be cut off."""
    heading, lead, *rest = answer(findings)
    table = [verdict_table(findings.families[0])] if findings.families[0].pairs else []
    return (heading, lead, *table, *rest)


def answer(findings: Findings) -> Iterator[Block]:
    """In plain words: each compared curriculum beside the baseline, and what its controls say."""
    record = findings.record
    yield Heading("The answer")
    yield Paragraph(_lead(findings))
    if open_runs := [run for run in record.runs if run.status in ("waiting", "running", "interrupted")]:
        yield Paragraph(
            f"The comparison is not finished: {len(open_runs)} of {counted(len(record.runs), 'run')} have no final figure yet. "
            "All that follows rests on those that have one."
        )
    for group in findings.groups:
        yield _answer_of(findings, group)
    yield Paragraph(_limits(findings), note=True)


def _lead(findings: Findings) -> str:
    record = findings.record
    verdicts = {pair.arm: pair.contrast.verdict if pair.contrast else None for pair in findings.families[0].pairs}
    at = f"{amount_words(record.budget.amount)} {UNITS[record.budget.unit]} a run, {counted(len(record.seeds), 'seed')}"
    if not verdicts:
        return f"No baseline was trained, so no curriculum is held against plain uniform masking here ({at})."
    words = {
        Verdict.BETTER: f"better than {record.baseline}",
        Verdict.WORSE: f"worse than {record.baseline}",
        Verdict.NOT_DISTINGUISHABLE: f"not distinguishable from {record.baseline}",
        Verdict.TOO_FEW_SEEDS: "undecided for too few seeds",
        None: "undecided for want of finished runs",
    }
    parts = [(listed([arm for arm, own in verdicts.items() if own is verdict]), told) for verdict, told in words.items()]
    said = [f"{arms} {'are' if ' and ' in arms else 'is'} {told}" for arms, told in parts if arms]
    return f"At equal budget ({at}): {'; '.join(said)}."


def _answer_of(findings: Findings, group: Group) -> Answer:
    pair = findings.pair(group.curriculum, str(findings.record.baseline))
    verdict = pair.contrast.verdict if pair and pair.contrast else None
    return Answer(
        name=group.curriculum,
        description=findings.arm(group.curriculum).description,
        badge=verdict.value if verdict else "no verdict",
        kind={Verdict.BETTER: "better", Verdict.WORSE: "worse"}.get(verdict, "open") if verdict else "open",
        sentence=headline(pair) if pair else "There is no baseline to hold it against.",
        reasons=reasons(findings, group),
        conclusion=conclusion(findings, group),
    )


def _limits(findings: Findings) -> str:
    record = findings.record
    errors = [o.nelbo_stderr for run in record.runs if (o := run.outcome) and o.nelbo_stderr is not None]
    error = f" (about {fixed(sum(errors) / len(errors), 4)} nats, one standard error)" if errors else ""
    return (
        "The intervals hold for seeds: for other first weights and other batches of the same recipe. They say nothing of other texts, "
        f"models or budgets. All runs are scored on the same {record.yardstick_sequences:,} held-out sequences under the same masks; the "
        f"error of that yardstick itself{error} is shared by all arms, and no number of seeds takes it away."
    )


def verdicts(findings: Findings) -> Iterator[Block]:
    """The tables of contrasts, and their differences seed by seed."""
    tables = [family for family in findings.families if family.pairs]
    if not tables:
        return
    yield Heading("Verdicts")
    yield Paragraph(
        "Holm's correction is made within each of these tables. The first is the question that the comparison was made for, and is kept "
        "small for it; the others explain. The chance that anything at all is found where there is nothing is at most 5 % in each table, "
        "not in all together."
    )
    for number, family in enumerate(tables):
        yield Heading(family.title, 3)
        yield verdict_table(family)
        if number == 0:
            yield Paragraph(NOTE + (f" The margin is {findings.record.margin:g} nats." if findings.record.margin else ""), note=True)
    without = [pair for family in tables for pair in family.pairs if not pair.contrast]
    if without:
        yield Bullets(tuple(f"No verdict: {pair.missing}." for pair in without))
    yield from _forests(findings)


def dots_to_baseline(findings: Findings) -> tuple[Dots, ...]:
    """The differences of all arms to the baseline, curricula first and each with its controls beneath it."""
    first, _, others = findings.families
    order, compared = [arm.name for arm in findings.record.arms], {pair.arm for pair in first.pairs}
    tested = sorted((*first.tested, *others.tested), key=lambda contrast: order.index(contrast.arm))
    return tuple(Dots(c.arm, findings.outcomes.difference(c.arm, c.baseline).values, c, c.arm not in compared) for c in tested)


def dots_to_controls(findings: Findings) -> tuple[Dots, ...]:
    """The differences of the curricula to their own controls."""
    pairs = findings.families[1].tested
    return tuple(Dots(f"{c.arm} − {c.baseline}", findings.outcomes.difference(c.arm, c.baseline).values, c) for c in pairs)


def _forests(findings: Findings) -> Iterator[Block]:
    margin, caption = findings.record.margin, "Each seed's difference as a dot, the mean as a diamond with its 95 % interval. "
    colours = "Blue is better and orange worse after the correction; a hollow diamond decides nothing."
    if rows := dots_to_baseline(findings):
        words = f"{caption}{colours} Controls are set in beneath their curriculum."
        yield picture("forest-baseline", forest_figure(rows, f"to {findings.record.baseline}", margin), words)
    if rows := dots_to_controls(findings):
        words = f"The curricula beside their own controls. {caption}{colours}"
        yield picture("forest-controls", forest_figure(rows, "to the control", margin), words)
