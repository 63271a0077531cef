"""Contrasts on simulated results whose truth is known, and at the edges."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from masklab.comparison.contrast import Contrast, Verdict, contrasts, power
from masklab.comparison.outcomes import Outcomes
from masklab.comparison.paired_difference import holm
from masklab.errors import UserError
from masklab.reporting.comparison.verdict_text import sentence

BETTER, WORSE, SAME, TOO_FEW = Verdict.BETTER, Verdict.WORSE, Verdict.NOT_DISTINGUISHABLE, Verdict.TOO_FEW_SEEDS
BASELINE = "uniform"


def table(figures: dict[str, list[float]]) -> Outcomes:
    return Outcomes.of({arm: dict(enumerate(row)) for arm, row in figures.items()})


def simulated(rng: np.random.Generator, effects: dict[str, float], seeds: int, noise: float = 0.01) -> Outcomes:
    """Arms that share what a seed does to all of them (0.05 nats), each with `noise` of its own."""
    shared = 2.2 + 0.05 * rng.standard_normal(seeds)
    arms = {BASELINE: 0.0} | effects
    return table({arm: list(shared + effect + noise * rng.standard_normal(seeds)) for arm, effect in arms.items()})


def against_baseline(outcomes: Outcomes, **options: float) -> tuple[Contrast, ...]:
    return contrasts(outcomes, [(arm, BASELINE) for arm in outcomes.arms if arm != BASELINE], **options)


def one(arm: list[float], baseline: list[float], **options: float) -> Contrast:
    return against_baseline(table({"sticky": arm, BASELINE: baseline}), **options)[0]


@pytest.mark.parametrize(("effect", "verdict"), [(-0.03, BETTER), (0.03, WORSE)])
def test_a_planted_difference_of_two_deviations_is_found(effect: float, verdict: Verdict) -> None:
    deviation = 0.01 * math.sqrt(2)
    assert abs(effect) > 2 * deviation
    rng = np.random.default_rng(11)
    found = [against_baseline(simulated(rng, {"sticky": effect}, 8))[0].verdict for _ in range(40)]
    assert power(effect / deviation, 8, 0.05) > 0.99
    assert found.count(verdict) >= 38


def test_the_pairing_finds_what_the_seeds_own_differences_would_hide() -> None:
    outcomes = simulated(np.random.default_rng(2), {"sticky": -0.03}, 8)
    arm, baseline = outcomes.values_of("sticky"), outcomes.values_of(BASELINE)
    assert stats.ttest_ind(arm, baseline).pvalue > 0.05
    assert against_baseline(outcomes)[0].verdict is BETTER


def test_equal_arms_under_other_names_are_not_told_apart() -> None:
    rng = np.random.default_rng(3)
    reports = [against_baseline(simulated(rng, dict.fromkeys("abcde", 0.0), 5)) for _ in range(100)]
    quiet = sum(all(contrast.verdict is SAME for contrast in report) for report in reports)
    assert quiet >= 93
    assert sum(contrast.verdict is SAME for report in reports for contrast in report) >= 490


def test_the_figures_of_a_contrast_are_those_of_their_references() -> None:
    outcomes = simulated(np.random.default_rng(4), {"a": -0.02, "b": 0.0, "c": 0.01}, 6)
    report = against_baseline(outcomes)
    p = [stats.ttest_rel(outcomes.values_of(c.arm), outcomes.values_of(BASELINE)).pvalue for c in report]
    np.testing.assert_allclose([c.p for c in report], p)
    np.testing.assert_allclose([c.p_holm for c in report], holm(p))
    for c in report:
        difference = outcomes.values_of(c.arm) - outcomes.values_of(BASELINE)
        assert c.difference == pytest.approx(difference.mean())
        assert c.stderr == pytest.approx(stats.sem(difference))
        assert c.percent == pytest.approx(100 * difference.mean() / outcomes.values_of(BASELINE).mean())
        assert c.low < c.difference < c.high and (c.pairs, c.asked, len(c.seeds)) == (3, 6, 6)
        assert c.detectable is not None
        assert power(c.detectable / difference.std(ddof=1), 6, 0.05 / 3) == pytest.approx(0.8, abs=1e-6)


def test_the_same_table_gives_the_same_report_and_swapped_arms_mirror_it() -> None:
    outcomes = simulated(np.random.default_rng(5), {"sticky": 0.01}, 5)
    there, again = (contrasts(outcomes, [("sticky", BASELINE)])[0] for _ in range(2))
    back = contrasts(outcomes, [(BASELINE, "sticky")])[0]
    assert there == again
    assert (there.low, there.high, there.p) == pytest.approx((-back.high, -back.low, back.p))


def test_more_pairs_make_a_verdict_harder() -> None:
    rng = np.random.default_rng(6)
    alone = one([2.2, 2.31, 2.41, 2.15, 2.28], [2.23, 2.33, 2.42, 2.19, 2.30])
    assert alone.verdict is BETTER
    rows = {"sticky": [2.2, 2.31, 2.41, 2.15, 2.28], BASELINE: [2.23, 2.33, 2.42, 2.19, 2.30]}
    rows |= {f"other{i}": list(2.3 + 0.05 * rng.standard_normal(5)) for i in range(9)}
    crowd = against_baseline(table(rows))[0]
    assert (crowd.p, crowd.low, crowd.high) == (alone.p, alone.low, alone.high)
    assert crowd.p_holm > 0.05 and crowd.verdict is SAME


def test_a_margin_asks_for_the_whole_interval_beyond_it() -> None:
    arm, baseline = [2.201, 2.302, 2.399, 2.151, 2.3], [2.231, 2.33, 2.43, 2.18, 2.331]
    assert one(arm, baseline).verdict is BETTER
    assert one(arm, baseline, margin=0.02).verdict is BETTER
    within = one(arm, baseline, margin=0.05)
    assert within.verdict is SAME
    assert "any difference is smaller than the margin of 0.0500" in sentence(within)


def test_too_few_seeds_to_see_the_margin_is_said_with_the_number_that_would_do() -> None:
    contrast = one([2.2, 2.4, 2.1], [2.25, 2.3, 2.15], margin=0.02)
    assert contrast.verdict is TOO_FEW
    assert contrast.seeds_needed is not None and contrast.seeds_needed > 100
    assert f"a difference of 0.0200 needs {contrast.seeds_needed} seeds" in sentence(contrast)


def test_two_seeds_decide_nothing() -> None:
    contrast = one([2.000, 2.100], [2.5, 2.60001])
    assert contrast.p_holm < 0.05 and contrast.verdict is TOO_FEW
    assert contrast.seeds_needed == 3, "2 would show it, and no verdict is given on them"
    assert sentence(contrast).endswith("; a difference of 0.500005 needs 3 seeds.")


def test_identical_runs_are_not_told_apart_and_have_no_undefined_figure() -> None:
    contrast = one([2.2, 2.3, 2.4], [2.2, 2.3, 2.4])
    assert (contrast.difference, contrast.stderr, contrast.low, contrast.high, contrast.p, contrast.p_holm) == (0, 0, 0, 0, 1, 1)
    assert (contrast.verdict, contrast.detectable, contrast.seeds_needed) == (SAME, None, None)
    assert sentence(contrast) == "sticky and uniform cannot be told apart: they have the same NELBO under each of 3 seeds."


@pytest.mark.parametrize(("seeds", "verdict"), [(5, SAME), (6, WORSE)])
def test_a_constant_difference_is_judged_by_sign_flips_and_questioned(seeds: int, verdict: Verdict) -> None:
    baseline = [2.0 + 0.1 * i for i in range(seeds)]
    contrast = one([x + 0.1 for x in baseline], baseline)
    assert contrast.p == 2 / 2**seeds and contrast.verdict is verdict
    assert "0.1000 nats per character above uniform" in sentence(contrast) and "Do the seeds differ?" in sentence(contrast)


def test_a_missing_seed_is_said() -> None:
    outcomes = Outcomes.of({"sticky": {1: 2.1, 2: 2.3, 3: 2.2, 4: None}, BASELINE: {1: 2.0, 2: 2.1, 3: 2.4, 4: 2.0}})
    contrast = against_baseline(outcomes)[0]
    assert contrast.seeds == (1, 2, 3)
    assert "3 of 4 seeds" in sentence(contrast)


SHOWN = Contrast(
    arm="sticky",
    baseline="uniform",
    unit="nats per character",
    seeds=(1, 2, 3, 4, 5),
    asked=5,
    difference=0.031,
    stderr=0.008,
    percent=1.4,
    low=0.013,
    high=0.049,
    level=0.95,
    p=0.002,
    p_holm=0.004,
    p_sign_flip=0.0625,
    pairs=2,
    margin=0.0,
    detectable=0.035,
    seeds_needed=5,
    verdict=WORSE,
)


def test_the_sentence_reads_as_one() -> None:
    assert sentence(SHOWN) == (
        "sticky is worse than uniform by 0.0310 ± 0.0080 nats per character "
        "(95 % interval 0.0130 to 0.0490, p = 0.004 after Holm over 2 pairs, 5 seeds)."
    )
    better = dataclasses.replace(SHOWN, difference=-0.031, low=-0.049, high=-0.013, pairs=1, p_holm=1e-5, margin=0.01, verdict=BETTER)
    assert sentence(better) == (
        "sticky is better than uniform by 0.0310 ± 0.0080 nats per character, beyond the margin of 0.0100 "
        "(95 % interval 0.0130 to 0.0490, p < 0.001 of a paired t test, 5 seeds)."
    )
    same = dataclasses.replace(SHOWN, difference=-0.004, low=-0.022, high=0.0001, p_holm=0.62, verdict=SAME)
    assert sentence(same) == (
        "sticky and uniform cannot be told apart: sticky is below by 0.0040 ± 0.0080 nats per character "
        "(95 % interval −0.0220 to 0.0001, p = 0.62 after Holm over 2 pairs, 5 seeds); "
        "5 seeds would show a difference of 0.0350 four times in five."
    )


@pytest.mark.parametrize(
    ("pairs", "options"),
    [
        ([("a", "a")], {}),
        ([("a", "b"), ("a", "b")], {}),
        ([("a", "b")], {"alpha": 0.0}),
        ([("a", "b")], {"alpha": math.nan}),
        ([("a", "b")], {"margin": -0.1}),
        ([("a", "b")], {"margin": math.nan}),
        ([("a", "c")], {}),
    ],
)
def test_what_makes_no_sense_is_refused(pairs: list[tuple[str, str]], options: dict[str, float]) -> None:
    with pytest.raises(UserError):
        contrasts(table({"a": [1.0, 2.0], "b": [1.0, 2.5]}), pairs, **options)


def test_no_pairs_make_an_empty_report() -> None:
    assert contrasts(table({"a": [1.0, 2.0]}), []) == ()


Figures = st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20), st.floats(0, 20)), min_size=2, max_size=8)


@settings(deadline=None, max_examples=40)
@given(Figures, st.sampled_from([0.0, 0.01, 1.0]))
def test_every_table_has_finite_figures_a_coherent_verdict_and_a_sentence(rows: list[tuple[float, float, float]], margin: float) -> None:
    a, b, base = (list(column) for column in zip(*rows, strict=True))
    for c in against_baseline(table({"a": a, "b": b, BASELINE: base}), margin=margin):
        assert all(math.isfinite(x) for x in (c.difference, c.stderr, c.low, c.high, c.p, c.p_holm))
        assert 0 <= c.p <= c.p_holm <= 1 and c.low <= c.difference <= c.high
        assert (c.verdict in (BETTER, WORSE)) <= (c.p_holm <= 0.05 and not c.low <= 0 <= c.high)
        assert sentence(c).endswith((".", "?")) and "nan" not in sentence(c)
