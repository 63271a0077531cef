"""What the controls of a curriculum say about it, in words: what its figure is due to, and what it is not.

That nothing is found is never taken to mean that nothing is there: what the seeds would have shown is said instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from masklab.comparison.contrast import Contrast
from masklab.comparison.power import MOST_SEEDS
from masklab.comparison.verdict import Verdict
from masklab.reporting.comparison.findings import ControlArm, Findings, Group, Pair
from masklab.reporting.comparison.numbers import decimals, detectable_words, listed, probability


def sentence(contrast: Contrast) -> str:
    """E.g. `sticky is worse than uniform by 0.031 ± 0.008 nats per character (95 % interval 0.013 to 0.049, p = 0.004 after Holm over
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
    beyond = f", beyond the margin of {_number(c.margin, _digits(c))}" if c.margin else ""
    return f"{c.arm} is {c.verdict.value} than {c.baseline} by {_amount(c)}{beyond} ({_evidence(c, c.difference < 0)})."


def _undecided(c: Contrast) -> str:
    digits = _digits(c)
    if c.margin and -c.margin < c.low and c.high < c.margin:
        rest = f"any difference is smaller than the margin of {_number(c.margin, digits)}"
    else:
        assert c.detectable is not None
        rest = f"{_count(len(c.seeds), 'seed')} would show a difference of {_number(c.detectable, digits)} four times in five"
    return f"{c.arm} and {c.baseline} cannot be told apart: {_above_or_below(c)} ({_evidence(c)}); {rest}."


def _too_few(c: Contrast) -> str:
    needed = f"over {MOST_SEEDS:,}" if c.seeds_needed is None else f"{c.seeds_needed:,}"
    rest = f"a difference of {_number(c.margin or abs(c.difference), _digits(c))} needs {needed} seeds"
    return f"Too few seeds to tell {c.arm} from {c.baseline}: {_above_or_below(c)} ({_evidence(c)}); {rest}."


def _without_spread(c: Contrast) -> str:
    seeds = _count(len(c.seeds), "seed")
    if c.difference == 0:
        return f"{c.arm} and {c.baseline} cannot be told apart: they have the same figure under each of {seeds}."
    side = f"{c.arm} is {_number(abs(c.difference), _digits(c))} {c.unit} {'below' if c.difference < 0 else 'above'} {c.baseline}"
    return (
        f"{side} under each of {seeds}, to the last digit ({_p(c.p_holm)} after Holm, by sign flips): {c.verdict.value}. "
        "Do the seeds differ?"
    )


def _amount(c: Contrast) -> str:
    digits = _digits(c)
    return f"{_number(abs(c.difference), digits)} ± {_number(c.stderr, digits)} {c.unit}"


def _above_or_below(c: Contrast) -> str:
    return f"{c.arm} is {'below' if c.difference < 0 else 'above'} by {_amount(c)}"


def _evidence(c: Contrast, mirrored: bool = False) -> str:
    """The interval, turned round where the sentence speaks of an improvement; the test; the seeds."""
    digits = _digits(c)
    low, high = (-c.high, -c.low) if mirrored else (c.low, c.high)
    holm = f"after Holm over {_count(c.pairs, 'pair')}" if c.pairs > 1 else "of a paired t test"
    seeds = _count(len(c.seeds), "seed") if len(c.seeds) == c.asked else f"{len(c.seeds)} of {_count(c.asked, 'seed')}"
    return f"{c.level * 100:g} % interval {_number(low, digits)} to {_number(high, digits)}, {_p(c.p_holm)} {holm}, {seeds}"


def _digits(c: Contrast) -> int:
    """Decimals that show the standard error: at least three, at most six."""
    size = c.stderr or abs(c.difference)
    return min(max(3, -math.floor(math.log10(size))), 6) if size else 3


def _number(value: float, digits: int) -> str:
    shown = f"{value:.{digits}f}"
    # a rounded zero has no sign, and a minus sign is not a hyphen
    return shown.lstrip("-") if float(shown) == 0 else shown.replace("-", "−")


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


BETTER, WORSE, SAME, TOO_FEW = Verdict.BETTER, Verdict.WORSE, Verdict.NOT_DISTINGUISHABLE, Verdict.TOO_FEW_SEEDS


@dataclass(frozen=True)
class Reading:
    """What a control's contrast means, by its verdict on the curriculum beside the control, and the `thing` that it takes away."""

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


def headline(pair: Pair) -> str:
    """The sentence about a curriculum and the baseline; in its place the reason why there is none."""
    return sentence(pair.contrast) if pair.contrast else f"Nothing can be said yet: {pair.missing}."


def reasons(findings: Findings, group: Group) -> tuple[str, ...]:
    """One sentence for each control of the curriculum, and one for each that was left out."""
    told = [_reason(findings, group.curriculum, control) for control in group.controls]
    standing_in = {control.control for control in group.controls}
    left_out = (x for x in findings.record.left_out if x.controls_for == group.curriculum and x.control not in standing_in)
    return (*told, *(f"{_title(x.control)} is left out: {x.reason}." for x in left_out))


def conclusion(findings: Findings, group: Group) -> str:
    """What the controls say together; empty where they say nothing."""
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
    return f"{words or f'Too few seeds to tell of {reading.thing}'} ({name} {_evidence_of_difference(contrast)})."


def _evidence_of_difference(contrast: Contrast) -> str:
    p = probability(contrast.p_holm)
    digits = decimals(contrast.stderr)
    amount = f"{abs(contrast.difference):.{digits}f} ± {contrast.stderr:.{digits}f} nats"
    by = f"is {amount} {'above' if contrast.difference <= 0 else 'below'} it, p {p if p.startswith('<') else f'= {p}'}"
    if contrast.verdict in (BETTER, WORSE) or contrast.detectable is None:
        return by
    return f"{by}; a difference of {detectable_words(contrast)} would show four times in five"


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
    """What those controls take away beside which the curriculum has this `verdict`; a tail takes nothing away."""
    pairs = ((c.control, findings.pair(group.curriculum, c.arm)) for c in group.controls if c.control != "uniform_tail")
    return [READINGS[control].thing for control, pair in pairs if pair and pair.contrast and pair.contrast.verdict is verdict]


def _title(control: str) -> str:
    return f"The control {control.replace('_', ' ')}"
