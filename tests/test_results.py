"""Runs and comparisons as tables, from a real store, and the notebook that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparison_story import Story
from mlflow_runs import start_run

from masklab.comparison.contrast import contrasts
from masklab.errors import RunError, TrackingError, UserError
from masklab.results import Results, load
from masklab.tracking import mlflow_run
from masklab.tracking.mlflow_run import client_of, end_run
from masklab.tracking.mlflow_store import Store
from masklab.tracking.nested_runs import PARENT_TAG

STORY = Story(effects={"rising": -0.05}, controls=("uniform", "reversed"), seeds=(1, 2, 3), failed={("rising-reversed", 3): "it diverged"})
POOLS = 2


@pytest.fixture(scope="module", autouse=True)
def no_store_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a comparison and its children, a run beside it, and another experiment; and the comparison's folder."""
    place = tmp_path_factory.mktemp("home")
    record = STORY.write(place / "runs" / STORY.name)
    store = Store(f"sqlite:///{place / 'mlflow.db'}", place)
    params = {"compare": {"curricula": ["rising"]}, "curriculum": {"name": "uniform"}, "run": {"seed": 1}}
    parent = start_run(store, "masklab", run_name=STORY.name, params=params, tags={})
    for run in record.runs:
        params = {"arm": run.arm, "seed": run.seed}
        handle = start_run(store, "masklab", run_name=f"{run.arm}/seed-{run.seed}", params=params, tags={PARENT_TAG: parent.run_id})
        if run.outcome and run.outcome.nelbo_nats is not None:
            log(store, handle.run_id, run.outcome.nelbo_nats)
        end_run(store, handle.run_id, "FINISHED" if run.outcome else "FAILED")
    end_run(store, parent.run_id, "FINISHED")
    alone = start_run(store, "masklab", run_name="alone", params={"curriculum": {"name": "sticky"}, "run": {"seed": 7}}, tags={})
    end_run(store, alone.run_id, "FINISHED")
    another = start_run(store, "another", run_name="it's", params={"depth": 1}, tags={})
    end_run(store, another.run_id, "FINISHED")
    return place


def log(store: Store, run_id: str, nats: float) -> None:
    from mlflow.entities import Metric

    points = [Metric("final/nelbo_nats", nats, 0, 100), Metric("final/nelbo_bpc", nats / np.log(2), 0, 100)]
    for step in (50, 100):
        points += [Metric("val/nelbo_nats", nats + 1 / step, 0, step), Metric("curriculum/stage", step // 100, 0, step)]
        points += [Metric(f"val/stage_loss/{pool:02d}", nats + pool + 1 / step, 0, step) for pool in range(POOLS)]
        points += [Metric(f"val/stage_accuracy/{pool:02d}", 0.5, 0, step) for pool in range(POOLS)]
    client_of(store.uri).log_batch(run_id, metrics=points)


@pytest.fixture(scope="module")
def comparison(home: Path) -> Results:
    return load(STORY.name, home=home)


def test_a_comparison_is_loaded_with_its_children(comparison: Results) -> None:
    runs = comparison.runs
    assert len(runs) == 1 + 9
    parent, children = runs[runs.parent.isna()].iloc[0], runs[runs.parent.notna()]
    assert parent["name"] == STORY.name and pd.isna(parent.arm) and pd.isna(parent.seed)
    assert set(children.parent) == {parent.run}
    assert set(zip(children.arm, children.seed, strict=True)) == {
        (a, s) for a in ("uniform", "rising", "rising-reversed") for s in (1, 2, 3)
    }
    one = children[(children.arm == "rising") & (children.seed == 2)].iloc[0]
    assert one["metrics.final/nelbo_nats"] == STORY.nelbo("rising", 2)
    assert (one["params.arm"], one.status) == ("rising", "FINISHED")


def test_all_runs_one_experiment_one_run_and_one_id(home: Path, comparison: Results) -> None:
    assert len(load(home=home).runs) == 12
    assert set(load("masklab", home=home).runs.experiment) == {"masklab"}
    assert len(load("masklab", home=home).runs) == 11
    (alone,) = load("alone", home=home).runs.to_dict("records")
    assert (alone["arm"], alone["seed"]) == ("sticky", 7)
    assert load(alone["run"], home=home).runs["name"].tolist() == ["alone"]
    assert load("it's", home=home).runs.experiment.tolist() == ["another"]


def test_runs_come_whole_however_many_pages_they_take(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(home=home).runs
    monkeypatch.setattr(mlflow_run, "PAGE", 5)
    pd.testing.assert_frame_equal(load(home=home).runs, whole)


def test_metrics_are_long(comparison: Results) -> None:
    told = comparison.metrics("val/nelbo_nats")
    assert list(told.columns) == ["run", "arm", "seed", "metric", "step", "value"]
    assert len(told) == 8 * 2
    own = told[(told.arm == "rising") & (told.seed == 1)]
    assert own.step.tolist() == [50, 100]
    assert own.value.tolist() == [STORY.nelbo("rising", 1) + 1 / step for step in (50, 100)]
    assert set(comparison.metrics().metric) > {"final/nelbo_bpc", "val/stage_loss/01"}


def test_stages_have_a_row_for_each_pool_of_each_evaluation(comparison: Results, home: Path) -> None:
    told = comparison.stages()
    assert len(told) == 8 * 2 * POOLS
    own = told[(told.arm == "rising") & (told.seed == 1) & (told.step == 100)]
    assert own.pool.tolist() == [0, 1] and own.stage.tolist() == [1, 1] and own.accuracy.tolist() == [0.5, 0.5]
    assert own.loss.tolist() == [STORY.nelbo("rising", 1) + pool + 1 / 100 for pool in range(POOLS)]
    assert load("alone", home=home).stages().empty


def test_outcomes_are_those_of_the_comparison_and_miss_what_failed(comparison: Results) -> None:
    outcomes = comparison.outcomes()
    assert outcomes.missing == (("rising-reversed", 3),)
    pair = [("rising", "uniform")]
    assert contrasts(outcomes, pair) == contrasts(comparison.findings().outcomes, pair)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda home: load("storie", home=home), RunError, "did you mean 'story'?"),
        (lambda home: load("'\"", home=home), RunError, "no such experiment, run or comparison"),
        (lambda home: load("story", home=home).metrics("val/nelbo_nat"), RunError, "did you mean 'val/nelbo_nats'?"),
        (lambda home: load("story", home=home).outcomes("speed"), RunError, "no run has such a metric"),
        (lambda home: load("alone", home=home).findings(), RunError, "holds no comparison.json"),
        (lambda home: load(home=home / "nowhere"), TrackingError, "there is no store at"),
        (lambda home: load(uri="http://127.0.0.1:9"), TrackingError, "no tracking server at"),
        (lambda home: load(uri="ftp://there"), TrackingError, "not an MLflow store"),
    ],
)
def test_mistakes_are_told_in_one_line(home: Path, call: Any, error: type[UserError], words: str) -> None:
    with pytest.raises(error) as raised:
        call(home)
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert not (home / "nowhere").exists()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(TrackingError, match="cannot be used"):
        load(home=tmp_path)


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    home: Path, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MASKLAB_HOME", str(home))
    monkeypatch.setenv("MASKLAB_COMPARISON", STORY.name)
    notebook = json.loads((root / "docs" / "results.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], len({cell["id"] for cell in notebook["cells"]})) == (4, len(notebook["cells"]))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), names)
    assert "rising is better than uniform by 0.05" in capsys.readouterr().out
