"""The verdict in sentences: the first sentence of a report, one on each pair, the explanation by controls, and the limits.

A difference that is not found is never reported as no difference: the sentence says which difference these seeds would have shown.
"""

from __future__ import annotations

from dataclasses import dataclass

from masklab.comparison.contrast import Contrast, Verdict
from masklab.reporting.comparison.findings import ControlArm, Findings, Group, Pair
from masklab.reporting.numbers import amount, counted, decimals_of, fixed, listed, mean_of, probability, seeds_needed, seeds_used

BETTER, WORSE, SAME, TOO_FEW = Verdict.BETTER, Verdict.WORSE, Verdict.NOT_DISTINGUISHABLE, Verdict.TOO_FEW_SEEDS
UNITS = {
    "max_chars": "characters",
    "max_masked_chars": "masked characters",
    "max_flops": "floating-point operations",
    "max_minutes": "minutes of training",
}
NOTE = (
    "Differences are taken between runs with the same seed, below zero where the arm is better; ± is one standard error. The interval is "
    "for its pair alone, and the verdict rests on p of the paired t test after Holm's correction over the table. The sign-flip test beside "
    "it assumes less and needs more seeds. Seeds needed: how many would show a difference of this size, or of the margin where one is set, "
    "four times in five; detectable: the smallest difference that the present seeds would show as often."
)


def lead(findings: Findings) -> str:
    """The first sentence of a report: the verdict on every curriculum at equal budget."""
    record = findings.record
    verdicts = {pair.arm: pair.contrast.verdict if pair.contrast else None for pair in findings.families[0].pairs}
    at = f"{amount(record.budget.amount)} {UNITS[record.budget.unit]} a run, {counted(len(record.seeds), 'seed')}"
    if not verdicts:
        return f"No baseline was trained, so no curriculum is compared with plain uniform masking here ({at})."
    words = {
        BETTER: f"better than {record.baseline}",
        WORSE: f"worse than {record.baseline}",
        SAME: f"not distinguishable from {record.baseline}",
        TOO_FEW: "undecided for too few seeds",
        None: "undecided for want of finished runs",
    }
    parts = [([arm for arm, own in verdicts.items() if own is verdict], predicate) for verdict, predicate in words.items()]
    clauses = [f"{listed(arms)} {'are' if len(arms) > 1 else 'is'} {predicate}" for arms, predicate in parts if arms]
    return f"At equal budget ({at}): {'; '.join(clauses)}."


def limits(findings: Findings) -> str:
    """The limits of the verdict: which variation the intervals do not cover."""
    record = findings.record
    error = mean_of([run.outcome.nelbo_stderr for run in record.runs if run.outcome])
    size = "" if error is None else f" (about {fixed(error, 4)} nats, one standard error)"
    return (
        "The intervals hold for seeds: for other first weights and other batches of the same recipe. They say nothing of other texts, "
        f"models or budgets. All runs are scored on the same {record.yardstick_sequences:,} held-out sequences under the same masks; the "
        f"error of that score itself{size} is shared by all arms, and no number of seeds removes it."
    )


def headline(pair: Pair) -> str:
    return sentence(pair.contrast) if pair.contrast else f"Nothing can be said yet: {pair.missing}."


def sentence(contrast: Contrast) -> str:
    """E.g. `sticky is worse than uniform by 0.0310 ± 0.0080 nats per character (95 % interval 0.0130 to 0.0490, p = 0.004 after Holm over
    3 pairs, 5 seeds).`, where ± is one standard error."""
    if contrast.stderr == 0:
        return _without_spread(contrast)
    return {
        Verdict.BETTER: _decided,
        Verdict.WORSE: _decided,
        Verdict.NOT_DISTINGUISHABLE: _undecided,
        Verdict.TOO_FEW_SEEDS: _too_few,
    }[contrast.verdict](contrast)


def _decided(c: Contrast) -> str:
    beyond = f", beyond the margin of {fixed(c.margin, decimals_of(c))}" if c.margin else ""
    return f"{c.arm} is {c.verdict.value} than {c.baseline} by {_amount(c)}{beyond} ({_evidence(c, c.difference < 0)})."


def _undecided(c: Contrast) -> str:
    digits = decimals_of(c)
    if c.margin and -c.margin < c.low and c.high < c.margin:
        rest = f"any difference is smaller than the margin of {fixed(c.margin, digits)}"
    else:
        assert c.detectable is not None
        rest = f"{counted(len(c.seeds), 'seed')} would show a difference of {fixed(c.detectable, digits)} four times in five"
    return f"{c.arm} and {c.baseline} cannot be told apart: {_above_or_below(c)} ({_evidence(c)}); {rest}."


def _too_few(c: Contrast) -> str:
    rest = f"a difference of {fixed(c.margin or abs(c.difference), decimals_of(c))} needs {seeds_needed(c)} seeds"
    return f"Too few seeds to tell {c.arm} from {c.baseline}: {_above_or_below(c)} ({_evidence(c)}); {rest}."


def _without_spread(c: Contrast) -> str:
    seeds = counted(len(c.seeds), "seed")
    if c.difference == 0:
        return f"{c.arm} and {c.baseline} cannot be told apart: they have the same NELBO under each of {seeds}."
    difference = f"{c.arm} is {fixed(abs(c.difference), decimals_of(c))} {c.unit} {'below' if c.difference < 0 else 'above'} {c.baseline}"
    p = probability(c.p_holm, "p")
    return f"{difference} under each of {seeds}, to the last digit ({p} after Holm, by sign flips): {c.verdict.value}. Do the seeds differ?"


def _amount(c: Contrast) -> str:
    digits = decimals_of(c)
    return f"{fixed(abs(c.difference), digits)} ± {fixed(c.stderr, digits)} {c.unit}"


def _above_or_below(c: Contrast) -> str:
    return f"{c.arm} is {'below' if c.difference < 0 else 'above'} by {_amount(c)}"


def _evidence(c: Contrast, mirrored: bool = False) -> str:
    """The interval, mirrored where the sentence states an improvement; the test; the seeds."""
    digits = decimals_of(c)
    low, high = (-c.high, -c.low) if mirrored else (c.low, c.high)
    holm = f"after Holm over {counted(c.pairs, 'pair')}" if c.pairs > 1 else "of a paired t test"
    seeds = f"{seeds_used(c)} {'seed' if c.asked == 1 else 'seeds'}"
    return f"{c.level * 100:g} % interval {fixed(low, digits)} to {fixed(high, digits)}, {probability(c.p_holm, 'p')} {holm}, {seeds}"


@dataclass(frozen=True)
class Reading:
    """What each verdict on the curriculum against a control means; `thing` is the part that the control removes."""

    thing: str
    better: str
    worse: str
    same: str


READINGS = {
    "shuffled": Reading(
        "the order of its stages",
        "Its order matters: with the same stages shuffled it is worse",
        "Its order is not the best one: with the same stages shuffled it is better",
        "Its order is not shown to matter: with the same stages shuffled it cannot be told apart",
    ),
    "reversed": Reading(
        "the direction of its stages",
        "Its direction matters: from the last stage to the first it is worse",
        "Its direction is the wrong one: from the last stage to the first it is better",
        "Its direction is not shown to matter: from the last stage to the first it cannot be told apart",
    ),
    "mixture": Reading(
        "training its stages one after another",
        "It is the progression and not only the masks: with all its stages mixed throughout it is worse",
        "Its masks do better without progression: with all its stages mixed throughout it is better",
        "Its progression is not shown to matter: with all its stages mixed throughout it cannot be told apart",
    ),
    "last_only": Reading(
        "the stages before its last",
        "The stages before the last one help: its last stage alone is worse",
        "The stages before the last one only cost: its last stage alone is better",
        "The stages before the last one are not shown to help: its last stage alone cannot be told apart",
    ),
    "uniform_tail": Reading(
        "ending without uniform masks",
        "Uniform masks in the end do not help: with such a tail it is worse",
        "It lacks uniform masks: with a tail of them it is better",
        "A tail of uniform masks is not shown to change it: with one it cannot be told apart",
    ),
}


def reasons(findings: Findings, group: Group) -> tuple[str, ...]:
    """A sentence on each control of the curriculum, and on each that was left out."""
    sentences = [_reason(findings, group.curriculum, control) for control in group.controls]
    compared = {control.control for control in group.controls}
    left_out = (x for x in findings.record.left_out if x.controls_for == group.curriculum and x.control not in compared)
    return (*sentences, *(f"{_title(x.control)} is left out: {x.reason}." for x in left_out))


def conclusion(findings: Findings, group: Group) -> str:
    """What the controls say together; empty where that is nothing."""
    first = findings.pair(group.curriculum, str(findings.record.baseline))
    verdict = first.contrast.verdict if first and first.contrast else None
    if verdict is BETTER:
        return _of_an_advantage(findings, group)
    if verdict is WORSE:
        return _of_a_loss(findings, group)
    return "There is no advantage to explain." if verdict is SAME else ""


def _reason(findings: Findings, curriculum: str, control: ControlArm) -> str:
    pair = findings.pair(curriculum, control.arm)
    if pair is None or pair.contrast is None:
        return f"{_title(control.control)} says nothing: {pair.missing if pair else f'{control.arm} is not compared with it'}."
    reading, contrast = READINGS[control.control], pair.contrast
    words = {BETTER: reading.better, WORSE: reading.worse, SAME: reading.same}.get(contrast.verdict)
    name = control.arm if control.arm == f"{curriculum}-{control.control}" else f"{control.arm}, which is trained alike,"
    return f"{words or f'Too few seeds to judge {reading.thing}'} ({name} {_evidence_of_difference(contrast)})."


def _evidence_of_difference(contrast: Contrast) -> str:
    digits = decimals_of(contrast)
    difference = f"{fixed(abs(contrast.difference), digits)} ± {fixed(contrast.stderr, digits)} nats"
    by = f"is {difference} {'above' if contrast.difference <= 0 else 'below'} it, {probability(contrast.p_holm, 'p')}"
    if contrast.verdict in (BETTER, WORSE) or contrast.detectable is None:
        return by
    return f"{by}; a difference of {fixed(contrast.detectable, digits)} would show four times in five"


def _of_an_advantage(findings: Findings, group: Group) -> str:
    needed, free = _things(findings, group, BETTER), _things(findings, group, SAME)
    if needed:
        rest = f"; not shown to matter: {listed(free)}" if free else ""
        return f"The controls tie its advantage to {listed(needed)}{rest}."
    return f"It is ahead, but not shown to be so by {listed(free)}: a simpler recipe may do as well." if free else ""


def _of_a_loss(findings: Findings, group: Group) -> str:
    tails = [control.arm for control in group.controls if control.control == "uniform_tail"]
    pair = findings.pair(tails[0], str(findings.record.baseline)) if tails else None
    if pair is None or pair.contrast is None:
        return ""
    baseline = pair.baseline
    return {
        WORSE: f"It does not lose by the mask ratios alone that it never trains: {pair.arm} is behind {baseline} too.",
        SAME: f"It may lose only by the mask ratios that it never trains: {pair.arm} cannot be told apart from {baseline}.",
        BETTER: f"It loses by the mask ratios that it never trains: {pair.arm} is better than {baseline}.",
    }.get(pair.contrast.verdict, "")


def _things(findings: Findings, group: Group, verdict: Verdict) -> list[str]:
    """The parts of the curriculum that are removed by the controls with this `verdict`; a tail removes nothing."""
    pairs = ((c.control, findings.pair(group.curriculum, c.arm)) for c in group.controls if c.control != "uniform_tail")
    return [READINGS[control].thing for control, pair in pairs if pair and pair.contrast and pair.contrast.verdict is verdict]


def _title(control: str) -> str:
    return f"The control {control.replace('_', ' ')}"
