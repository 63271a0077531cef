"""The chapters of a comparison's report, the answer first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from masklab.comparison.contrast import Verdict
from masklab.io.atomic_file import write_text
from masklab.reporting.comparison.blocks import Answer, Block, Bullets, Code, Folded, Heading, Paragraph, Picture, markdown, page
from masklab.reporting.comparison.findings import Curves, Findings, Group
from masklab.reporting.comparison.plots import (
    dots_to_baseline,
    dots_to_controls,
    dwell_plot,
    forest_plot,
    matrix_plot,
    paired_plot,
    picture,
    reach_plot,
)
from masklab.reporting.comparison.tables import (
    dwell_table,
    final_table,
    mean_dwell,
    runs_table,
    spending_table,
    targets_table,
    verdict_table,
)
from masklab.reporting.comparison.terminal import MOST_NOTICED, failures, noticed
from masklab.reporting.comparison.verdict_text import NOTE, UNITS, conclusion, headline, lead, limits, reasons
from masklab.reporting.numbers import MISSING, amount, counted, duration


def chapters(findings: Findings) -> tuple[Block, ...]:
    parts = (_answer, _verdicts, _final, _budget, _learning, _stages, _mask_ratios, _dwell, _cost, _warnings, _repetition)
    return (Heading(f"Comparison {findings.record.name}", 1), *(block for part in parts for block in part(findings)))


def summary(findings: Findings) -> tuple[Block, ...]:
    """The answer with its table beneath the first sentence, for a place that may cut off the rest."""
    heading, first, *rest = _answer(findings)
    table = [verdict_table(findings.families[0])] if findings.families[0].pairs else []
    return (heading, first, *table, *rest)


def _answer(findings: Findings) -> Iterator[Block]:
    record = findings.record
    yield Heading("The answer")
    yield Paragraph(lead(findings))
    if unfinished := [run for run in record.runs if run.status in ("waiting", "running", "interrupted")]:
        yield Paragraph(
            f"The comparison is not finished: {len(unfinished)} of {counted(len(record.runs), 'run')} have no final NELBO yet. "
            "All that follows rests on those that have one."
        )
    for group in findings.groups:
        yield _answer_of(findings, group)
    yield Paragraph(limits(findings), note=True)


def _answer_of(findings: Findings, group: Group) -> Answer:
    pair = findings.pair(group.curriculum, str(findings.record.baseline))
    verdict = pair.contrast.verdict if pair and pair.contrast else None
    return Answer(
        name=group.curriculum,
        description=findings.arm(group.curriculum).description,
        badge=verdict.value if verdict else "no verdict",
        kind={Verdict.BETTER: "better", Verdict.WORSE: "worse"}.get(verdict, "open") if verdict else "open",
        sentence=headline(pair) if pair else "There is no baseline to compare it with.",
        reasons=reasons(findings, group),
        conclusion=conclusion(findings, group),
    )


def _verdicts(findings: Findings) -> Iterator[Block]:
    """The tables of contrasts, and a forest plot of the differences by seed."""
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


def _forests(findings: Findings) -> Iterator[Block]:
    margin, caption = findings.record.margin, "Each seed's difference as a dot, the mean as a diamond with its 95 % interval. "
    colours = "Blue is better and orange worse after the correction; a hollow diamond decides nothing."
    if rows := dots_to_baseline(findings):
        words = f"{caption}{colours} Controls are set in beneath their curriculum."
        yield picture("forest-baseline", forest_plot(rows, f"to {findings.record.baseline}", margin), words)
    if rows := dots_to_controls(findings):
        words = f"The curricula beside their own controls. {caption}{colours}"
        yield picture("forest-controls", forest_plot(rows, "to the control", margin), words)


def _final(findings: Findings) -> Iterator[Block]:
    yield Heading("Final NELBO")
    yield final_table(findings)
    yield Paragraph(
        "NELBO in nats and in bits per character: mean ± standard deviation between seeds. Mask error: the standard error of one run's "
        "NELBO over the held-out sequences, with the same masks for all runs. The other columns are means per run.",
        note=True,
    )


def _budget(findings: Findings) -> Iterator[Block]:
    budget = findings.record.budget
    table = spending_table(findings)
    yield Heading("The budget")
    rest = f", which is {budget.chars:,} characters" if budget.chars and budget.unit != "max_chars" else ""
    equal = f"Every run was given {budget.amount:,.12g} {UNITS[budget.unit]}{rest}."
    if not table.rows:
        yield Paragraph(f"{equal} No run has finished, so what they spent is not known.")
        return
    yield Paragraph(f"{equal} By other measures the arms differ: the least and the most that an arm spent, means over its seeds.")
    yield table


def _learning(findings: Findings) -> Iterator[Block]:
    curves = findings.learning_curves
    yield Heading("Learning curves")
    if not curves:
        yield Paragraph("No finished run has a record of its evaluations.")
        return
    what = "NELBO, nats per character"
    yield from _paired(
        "learning", findings, curves, findings.spent, what, "The NELBO of the evaluations, on a smaller pool than the final one"
    )
    panels = {group.curriculum: group.arms for group in findings.groups if any(arm in curves for arm in group.arms)}
    if len(panels) > 1:
        panels = {"the curricula": tuple(panels), **panels}
    yield Heading("Budget to a target", 3)
    if panels:
        words = f"Median over seeds of the {findings.spent} after which the NELBO stays below a target; lower is faster."
        yield picture("targets", reach_plot(curves, panels, findings.record.baseline, findings.spent), words)
    yield targets_table(findings)
    yield Paragraph(
        f"{findings.spent.capitalize()} until the NELBO stays below the target; a dash where fewer than half arrive.", note=True
    )


def _mask_ratios(findings: Findings) -> Iterator[Block]:
    yield Heading("Cross-entropy by mask ratio")
    curves = findings.mask_ratio_curves
    if not curves:
        yield Paragraph("It was not measured.")
        return
    what = "nats per masked character"
    yield from _paired(
        "ratios", findings, curves, "share of masked characters", what, "The final weights at each share of masked characters"
    )


def _paired(name: str, findings: Findings, curves: Curves, over: str, what: str, words: str) -> Iterator[Block]:
    """A plot of all curricula, and one of each with its controls."""
    baseline, groups = findings.record.baseline, findings.groups
    sets = [("the curricula", tuple(group.curriculum for group in groups))] if len(groups) > 1 else []
    sets += [(group.curriculum, group.arms) for group in groups if len(group.arms) > 1 or len(groups) == 1]
    shown = [(title, arms) for title, arms in sets if any(arm in curves for arm in arms)]
    right = f" Right: the paired difference to {baseline} with its 95 % interval at each point by itself." if baseline else ""
    for number, (title, arms) in enumerate(shown):
        left = f"{words}: {title}{'' if title == 'the curricula' else ' and its controls'}, mean and range over seeds."
        yield picture(f"{name}-{number}", paired_plot(curves, arms, baseline, over, what), left + right)


def _stages(findings: Findings) -> Iterator[Block]:
    yield Heading("What each stage teaches and forgets")
    matrices = {arm.name: change for arm in findings.record.arms if (change := findings.stage_changes(arm.name)) is not None}
    if not matrices:
        yield Paragraph("No arm with several stages has finished.")
        return
    yield Paragraph(
        "How the loss of each validation pool (nats per masked character) changes while a stage is trained, the mean over seeds: blue "
        "where it falls, orange where it rises. Changes before the first evaluation are not shown; a dash is a stage "
        "that was not reached. The pools:"
    )
    yield Bullets(tuple(f"{number}: {words}" for number, words in enumerate(findings.record.validation)))
    titles = {arm: _stage_titles(findings, arm) for arm in matrices}
    for number, group in enumerate(findings.groups):
        own = {arm: matrices[arm] for arm in group.arms if arm in matrices}
        if own:
            yield picture(f"stages-{number}", matrix_plot(own, titles), f"{group.curriculum}: stages trained, pools scored.")


def _stage_titles(findings: Findings, arm: str) -> list[str]:
    run = next((run.outcome for run in findings.finished_runs(arm) if run.outcome), None)
    return [f"{number} {dwell.title}" for number, dwell in enumerate(run.dwell)] if run else []


def _dwell(findings: Findings) -> Iterator[Block]:
    yield Heading("Time in each stage")
    dwell = {arm.name: parts for arm in findings.record.arms if len(parts := mean_dwell(findings, arm.name)) > 1 and sum(parts) > 0}
    if not dwell:
        yield Paragraph("No arm with several stages has finished.")
        return
    yield picture("dwell", dwell_plot(dwell), "Iterations of each stage, by its number in its own arm, the mean over seeds.")
    yield Folded("Iterations and reasons of every stage", (dwell_table(findings),))


def _cost(findings: Findings) -> Iterator[Block]:
    outcomes = [run.outcome for run in findings.record.runs if run.outcome]
    seconds = sum(o.train_seconds or 0 for o in outcomes)
    flops = [o.flops for o in outcomes if o.flops is not None]
    yield Heading("Cost")
    if not outcomes:
        yield Paragraph("No run has finished.")
        return
    yield Paragraph(
        f"{counted(len(outcomes), 'run')} took {duration(seconds)} of training, the runs' own times added up, "
        f"{sum(o.chars for o in outcomes):,} characters, {sum(o.masked_chars for o in outcomes):,} of them masked, and "
        f"{amount(sum(flops)) if flops else 'an unknown number of'} floating-point operations."
    )


def _warnings(findings: Findings) -> Iterator[Block]:
    record = findings.record
    yield Heading("Warnings")
    wrong, seen = failures(findings), noticed(findings)
    shown = (*wrong, *(seen if len(seen) <= MOST_NOTICED else ()))
    if shown or not seen:
        yield Bullets(shown) if shown else Paragraph("No failures and no warnings.")
    if len(seen) > MOST_NOTICED:
        yield Folded(f"{len(seen)} warnings of the runs", (Bullets(seen),))
    if record.left_out:
        yield Heading("Controls left out", 3)
        yield Bullets(tuple(f"{x.controls_for}, {x.control}: {x.reason}" for x in record.left_out))


def _repetition(findings: Findings) -> Iterator[Block]:
    record = findings.record
    facts = {
        "seeds": ", ".join(map(str, record.seeds)),
        "budget of each run": f"{record.budget.amount:,.12g} {UNITS[record.budget.unit]}",
        "dataset": f"{record.dataset}, fingerprint {record.corpus_fingerprint}",
        "pools": f"digest {record.pools_digest}, {record.yardstick_sequences:,} sequences under the yardstick",
        "model": f"{record.parameters:,} parameters, blocks of {record.block_size:,}, {record.vocabulary_size:,} characters, "
        f"{amount(record.flops_per_char)} floating-point operations a character",
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "commit": record.git_commit or MISSING,
        "MLflow": f"run {record.mlflow_run_id}; {record.browse}" if record.mlflow_run_id else "not kept there",
    }
    yield Heading("To repeat it")
    yield Code(record.commands)
    yield Bullets(tuple(f"{name}: {words}" for name, words in facts.items()))
    yield Folded("The arms", (Bullets(tuple(_arm_words(findings, arm.name) for arm in record.arms)),))
    yield Folded("Every run", (runs_table(findings),))


def _arm_words(findings: Findings, name: str) -> str:
    arm = findings.arm(name)
    return f"{name}: {arm.description}" + (f" {arm.question}" if arm.question and arm.controls_for else "")


PAGE, TEXT, PICTURES = "report.html", "report.md", "report"


def write_report(folder: Path) -> tuple[Path, ...]:
    """Write `report.html`, `report.md` and the pictures in `report/` into the comparison's folder, and return their paths.

    Raises RunError when the folder holds no comparison, or a damaged one.
    """
    findings = Findings.read(folder)
    blocks = chapters(findings)
    texts = {PAGE: page(blocks, f"Comparison {findings.record.name}"), TEXT: markdown(blocks, PICTURES)}
    texts |= {f"{PICTURES}/{picture.name}.svg": picture.svg for picture in _pictures(blocks)}
    for earlier in set((folder / PICTURES).glob("*.svg")) - {folder / name for name in texts}:
        earlier.unlink()
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def summary_markdown(folder: Path) -> str:
    """The answer and the table of verdicts, for a run's description. Raises RunError like `write_report`."""
    return markdown(summary(Findings.read(folder)), PICTURES)


def _pictures(blocks: Sequence[Block]) -> Iterator[Picture]:
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Folded):
            yield from _pictures(block.blocks)
