"""A sweep's pictures and table, from a record whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import sweep_story

from masklab.cluster.tune.driver import description, draw, history
from masklab.cluster.tune.optuna_search import importance_of
from masklab.config.search.search_space import Choice, Uniform, Whole
from masklab.config.search.search_space import draw as draw_point
from masklab.reporting.sweep.plots import coordinates_plot, history_plot, place
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import markdown_trials, text_table

SPACE = {"training.learning_rate": "log(0.0001,0.01)", "model.n_layer": "int(1,4)", "curriculum": "choice(sticky,random)"}
READ = {"training.learning_rate": Uniform(1e-4, 1e-2, log=True), "model.n_layer": Whole(1, 4), "curriculum": Choice(("sticky", "random"))}


def trial(number: int, nats: float, status: str = "finished", reason: str = "") -> TrialRecord:
    values = draw_point(READ, 0, number)
    known = {"nelbo_nats": nats, "nelbo_stderr": 0.01, "nelbo_bpc": nats / math.log(2), "status": status, "reason": reason}
    return TrialRecord.model_validate({"number": number, "values": values, "curriculum": "c", **known})


def record(*trials: TrialRecord) -> SweepRecord:
    return sweep_story.record(*trials, space=SPACE, retrain="python jobs/train.py training.learning_rate=0.001")


SMALL = record(trial(0, 2.5), trial(1, 2.0), trial(2, 2.2), trial(3, 3.0, "stopped"), trial(4, 9.0, "failed", "it | broke"))


def test_the_best_is_the_lowest_of_the_finished() -> None:
    assert [each.number for each in SMALL.ranked] == [1, 2, 0]
    assert SMALL.best == SMALL.trials[1]
    assert record(trial(3, 1.0, "stopped")).best is None


def test_the_history_keeps_the_best_so_far() -> None:
    assert history(SMALL) == [(0, 2.5, 2.5), (1, 2.0, 2.0), (2, 2.2, 2.0)]


def test_the_table_has_the_best_first_and_every_trial_once() -> None:
    rows = list(text_table(SMALL))
    assert [row[:3] for row in rows[1:]] == ["001", "002", "000", "003", "004"]
    assert all(key in rows[0] for key in SPACE)
    assert r"it \| broke" in markdown_trials(SMALL)
    assert "trial 001, 2.0000" in description(SMALL)


@pytest.mark.parametrize(
    ("key", "value", "height"), [("training.learning_rate", 1e-3, 0.5), ("model.n_layer", 4, 1.0), ("curriculum", "sticky", 0.0)]
)
def test_a_value_stands_where_it_lies_between_the_ends(key: str, value: float | str, height: float) -> None:
    assert place(READ[key], value) == pytest.approx(height)  # type: ignore[arg-type]


def test_the_pictures_show_each_finished_trial() -> None:
    (axes,) = history_plot(SMALL).axes
    best = next(line for line in axes.lines if line.get_label() == "best")
    assert list(best.get_ydata()) == [2.5, 2.0, 2.0]  # type: ignore[arg-type]
    (axes,) = coordinates_plot(SMALL).axes
    assert sum(len(line.get_xdata()) == len(SPACE) + 1 for line in axes.lines) == 3  # type: ignore[arg-type]


def test_a_sweep_without_a_finished_trial_draws_nothing(tmp_path: Path) -> None:
    assert list(draw(record(trial(0, 1.0, "failed")), tmp_path)) == []
    assert {path.name for path in draw(SMALL, tmp_path)} == {"history.png", "coordinates.png"}, "too few for an importance"


def test_the_key_that_decides_is_the_important_one() -> None:
    found = [trial(n, 2.0 + 0.3 * abs(math.log10(float(draw_point(READ, 0, n)["training.learning_rate"])) + 3)) for n in range(40)]
    shares = importance_of(record(*found))
    assert shares.keys() == SPACE.keys() and sum(shares.values()) == pytest.approx(1)
    assert shares["training.learning_rate"] > 0.8
