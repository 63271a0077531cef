"""A guided search: it closes in on a planted optimum, and goes on from what a record tells it."""

from __future__ import annotations

import math

from masklab.cluster.tune.optuna_search import Suggestions
from masklab.config.search.search_space import Choice, Point, Uniform, Whole
from masklab.reporting.sweep.record import TrialRecord

SPACE = {"rate": Uniform(1e-4, 1e-1, log=True), "layers": Whole(1, 6), "kind": Choice(("good", "bad"))}


def planted(point: Point) -> float:
    """Lowest at a rate of 1e-3, 4 layers, and the good kind."""
    return abs(math.log10(float(point["rate"])) + 3) + abs(int(point["layers"]) - 4) / 3 + (point["kind"] == "bad")


def finished(number: int, point: Point) -> TrialRecord:
    return TrialRecord(number=number, values=point, curriculum="c", status="finished", nelbo_nats=planted(point))


def searched(suggestions: Suggestions, numbers: range) -> list[TrialRecord]:
    found = []
    for number in numbers:
        found.append(finished(number, suggestions.ask(number)))
        suggestions.tell(found[-1])
    return found


def mean(trials: list[TrialRecord]) -> float:
    return sum(trial.nelbo_nats or 0.0 for trial in trials) / len(trials)


def test_it_closes_in_on_the_best() -> None:
    found = searched(Suggestions(SPACE, 0, 40), range(40))
    assert mean(found[-10:]) < 0.5 * mean(found[:10])


def test_it_goes_on_from_what_a_record_tells() -> None:
    known = searched(Suggestions(SPACE, 0, 40), range(30))
    assert mean(searched(Suggestions(SPACE, 0, 40, known), range(30, 40))) < 0.5 * mean(known[:10])


def test_it_learns_from_trials_that_an_earlier_part_had_asked_for() -> None:
    began = searched(Suggestions(SPACE, 0, 40), range(30))
    suggestions = Suggestions(SPACE, 0, 40)
    for trial in began:  # which were under way when that part was stopped
        suggestions.tell(trial)
    assert mean(searched(suggestions, range(30, 40))) < 0.5 * mean(began[:10])


def test_it_never_begins_twice_in_the_same_way() -> None:
    first = searched(Suggestions(SPACE, 0, 40), range(2))
    again = searched(Suggestions(SPACE, 0, 40, first), range(2, 4))
    assert not {str(trial.values) for trial in first} & {str(trial.values) for trial in again}


def test_the_same_seed_asks_for_the_same_points() -> None:
    one, other, strange = (searched(Suggestions(SPACE, seed, 20), range(12)) for seed in (1, 1, 2))
    assert one == other != strange


def test_it_takes_trials_that_failed_or_were_stopped() -> None:
    suggestions = Suggestions(SPACE, 0, 8)
    for number, status in enumerate(("failed", "stopped", "interrupted")):
        point = suggestions.ask(number)
        suggestions.tell(
            TrialRecord.model_validate({"number": number, "values": point, "curriculum": "c", "status": status, "nelbo_nats": 3})
        )
    stopped = TrialRecord(number=0, values=suggestions.ask(3), curriculum="c", status="stopped", nelbo_nats=3.0, iterations=5)
    assert Suggestions(SPACE, 0, 8, [stopped]).ask(1).keys() == SPACE.keys()
