"""Who descends from whom in a population, in words and as a picture, from a record whose truth is known."""

from __future__ import annotations

import io

from rich.console import Console
from sweep_story import record

from masklab.reporting.sweep.plots import lineage_plot, stretches, values_of
from masklab.reporting.sweep.record import Exploit, SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal, lineage_lines

RATE = "training.learning_rate"


def exploit(iteration: int, donor: int, before: float, after: float) -> Exploit:
    return Exploit(
        iteration=iteration,
        chars=100 * iteration,
        donor=donor,
        before={RATE: before, "ramp.shape": "linear"},
        after={RATE: after, "ramp.shape": "linear"},
        nelbo_nats=3.0,
        donor_nelbo_nats=2.0,
        weights_sha256="0",
    )


def trial(number: int, rate: float, *lineage: Exploit) -> TrialRecord:
    values = {RATE: rate, "ramp.shape": "linear"}
    return TrialRecord(number=number, values=values, curriculum="c", status="finished", nelbo_nats=2.0, chars=4000, lineage=lineage)


FIRST, SECOND, THIRD = exploit(10, 2, 1e-5, 1.2e-3), exploit(20, 0, 1e-4, 1.44e-3), exploit(30, 1, 1.2e-3, 1.2e-3)
RECORD = record(
    *(trial(0, 1.2e-3, FIRST, THIRD), trial(1, 1.44e-3, SECOND), trial(2, 1e-3)),
    scheduler="pbt",
    space={RATE: "log(1e-5,1e-2)", "ramp.shape": "choice(linear,cosine)"},
    budget="40 iters",
)
"""Trial 0 takes over 2, then 1 takes over 0, then 0 takes over 1: all descend from 2."""


def test_ancestors_follow_takeovers_of_takeovers() -> None:
    assert RECORD.ancestors(9) == {0: 0, 1: 1, 2: 2}
    assert RECORD.ancestors(10) == {0: 2, 1: 1, 2: 2}
    assert RECORD.ancestors() == {0: 2, 1: 2, 2: 2}


def test_the_values_of_a_trial_over_time() -> None:
    assert {step: values[RATE] for step, values in RECORD.trials[0].values_over_time.items()} == {0: 1e-5, 10: 1.2e-3, 30: 1.2e-3}
    assert values_of(RECORD.trials[1], RATE) == [(0, 1e-4), (2000, 1.44e-3)]
    assert SweepRecord.model_validate_json(RECORD.model_dump_json()) == RECORD


def test_each_takeover_is_a_line() -> None:
    assert list(lineage_lines(RECORD)) == [
        "000 at 1.00k characters from 002: training.learning_rate 1e-05 -> 0.0012",
        "001 at 2.00k characters from 000: training.learning_rate 0.0001 -> 0.00144",
        "000 at 3.00k characters from 001: the same values",
        "descended from 002: 3",
    ]
    paper = io.StringIO()
    SweepTerminal(3, 2, Console(file=paper, width=200)).exploited(RECORD.trials[0], FIRST)
    assert "000  exploits 002 after 1.00k characters, 3.0000 -> 2.0000 nats   training.learning_rate 1e-05 -> 0.0012" in paper.getvalue()


def test_the_picture_has_a_stretch_for_each_part_of_a_trial_and_an_arrow_for_each_takeover() -> None:
    assert list(stretches(RECORD, RECORD.trials[0])) == [(0, 1000, 0), (1000, 3000, 2), (3000, 4000, 2)]
    lanes, rate, shape = lineage_plot(RECORD).axes
    assert len(lanes.lines) == 6 and len(lanes.texts) == 3
    assert [arrow.xy for arrow in lanes.texts] == [(1000, 0), (2000, 1), (3000, 0)]  # type: ignore[attr-defined]
    assert rate.get_yscale() == "log" and len(rate.lines) == len(shape.lines) == 6
