"""A contrast in one sentence."""

from __future__ import annotations

import math

from masklab.comparison.contrast import Contrast
from masklab.comparison.power import MOST_SEEDS
from masklab.comparison.verdict import Verdict


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
