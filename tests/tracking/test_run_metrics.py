"""Names and values of the metrics, and the flat parameters."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import run_story
from hypothesis import given
from hypothesis import strategies as st
from metric_names import patterns, unlisted

from masklab.likelihood.estimate import Estimate
from masklab.tracking import metrics
from masklab.tracking.metrics import (
    BEST_NELBO,
    TRIAL_NELBO,
    arm_metric,
    estimate_metrics,
    evaluation_section,
    in_section,
    metrics_of,
    sampler_metrics,
    stage_metrics,
    value_metrics,
)
from masklab.tracking.mlflow_run import flat_params
from masklab.training.events import RolledBack, StepSkipped
from masklab.training.loss_spikes import Rollback, Skip

DESIGNED = {
    "train/loss",
    "train/lr",
    "train/grad_norm",
    "val/loss",
    "val/stage_loss/00",
    "val/stage_loss/01",
    "val/stage_accuracy/00",
    "val/stage_accuracy/01",
    "val/stage_true_probability/00",
    "val/stage_true_probability/01",
    "val/accuracy",
    "val/model_vs_random",
    "val/mask_ratio",
    "val/run_length",
    "val/nelbo_nats",
    "val/nelbo_bpc",
    "val/nelbo_stderr",
    "curriculum/stage",
    "curriculum/stale_evals",
    "curriculum/best_loss",
    "progress/iters",
    "progress/chars",
    "progress/masked_chars",
    "perf/chars_per_second",
    "perf/data_wait_fraction",
    "perf/mfu",
    "final/loss",
    "final/stage_loss/00",
    "final/stage_loss/01",
    "final/stage_accuracy/00",
    "final/stage_accuracy/01",
    "final/stage_true_probability/00",
    "final/stage_true_probability/01",
    "final/accuracy",
    "final/model_vs_random",
    "final/mask_ratio",
    "final/run_length",
    "final/nelbo_nats",
    "final/nelbo_bpc",
    "final/nelbo_stderr",
}


def test_a_run_logs_exactly_the_designed_names() -> None:
    events = [*run_story.story(), run_story.step(401, mfu=0.3)]
    assert {name for event in events for name in metrics_of(event)} == DESIGNED


def test_each_name_that_a_run_logs_is_in_the_table_of_names() -> None:
    assert not unlisted(DESIGNED)
    wrong = {"train/los", "final/stage_loss/0", "val/precision", "evaluation/001-two", "evaluation/001-two/nelbo_nat", "accuracy"}
    assert unlisted(wrong) == wrong


def test_each_row_of_the_table_that_a_run_can_log_is_logged() -> None:
    skipped = StepSkipped(7, Skip(6, 6, 0, "loss", "the loss is nan"), 1)
    rolled_back = RolledBack(7, 0, Rollback(7, 5, "3 steps in a row were skipped", 1.0), 1)
    events = [*run_story.story(), replace(run_story.step(401, mfu=0.3), overflows=1), skipped, rolled_back]
    made = {name for event in events for name in metrics_of(event)}
    of_runs = {row: pattern for row, pattern in patterns().items() if row.startswith(("train", "progress", "perf", "stab", "val/", "curr"))}
    assert not unlisted(made) and len(of_runs) > 20
    assert [row for row, pattern in of_runs.items() if not any(map(pattern.fullmatch, made))] == []


def test_each_row_of_the_table_that_another_job_logs_is_made_by_a_function() -> None:
    samplers = dict.fromkeys(("network_evaluations", "characters_per_second", "divergence", "distinct", "entropy", "real_words"), 1.0) | {
        "nothing": None
    }
    bounds = estimate_metrics("nelbo", Estimate(1.0, 0.1)) | stage_metrics(1, {"loss": 1.0})
    scores = bounds | in_section("difference", bounds) | stage_metrics(1, {"accuracy": 0.5}) | {"loss": 1.0, "auroc": 0.5}
    scores |= sampler_metrics("remdm cap 0.02, 64 steps", samplers)
    made = in_section(evaluation_section("001", "sticky"), scores) | value_metrics({"training.learning_rate": 0.1, "model": "small"})
    made |= {arm_metric("sticky"): 1.0, TRIAL_NELBO: 1.0, BEST_NELBO: 1.0}
    assert "evaluation/001-sticky/sampler_distinct/remdm_cap_0.02_64_steps" in made
    assert not unlisted(made)
    others = [row for row in patterns() if row.startswith(("evaluation", "values", "nelbo", "trial", "best"))]
    assert len(others) == len(made) and len(patterns()) == len(others) + 24
    assert [row for row in others if not any(map(patterns()[row].fullmatch, made))] == []


def test_no_other_file_spells_the_name_of_a_metric() -> None:
    package = Path(metrics.__file__).parents[1]
    sections = tuple({row.partition("/")[0] + "/" for row in patterns()} | {"final/"})
    spelled = [
        (str(file.relative_to(package)), node.value)
        for file in package.rglob("*.py")
        if file != Path(metrics.__file__)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(sections) and " " not in node.value
    ]
    assert spelled == []


def test_metrics_come_from_the_event() -> None:
    assert metrics_of(run_story.step(7, loss=2.25))["train/loss"] == 2.25
    assert "perf/mfu" not in metrics_of(run_story.step(7))
    logged = metrics_of(run_story.evaluated(100, (2.0, 3.0)))
    assert logged["val/stage_loss/01"] == 3.0
    assert logged["val/loss"] == 2.5
    assert logged["val/nelbo_bpc"] == pytest.approx(logged["val/nelbo_nats"] / math.log(2))
    assert logged["curriculum/best_loss"] == 2.0


def test_a_stage_that_has_just_begun_has_no_best() -> None:
    logged = metrics_of(run_story.evaluated(100, next_stage=1))
    assert logged["curriculum/stage"] == 1
    assert "curriculum/best_loss" not in logged


def test_events_without_metrics_have_no_metrics() -> None:
    assert metrics_of(run_story.started()) == metrics_of(run_story.advanced(100)) == {}


def test_params_are_flat_and_hold_no_password() -> None:
    tree = {"a": {"b": [1, {"c": None}], "d": {}}, "uri": "postgresql://me:pw@host/db", "on": True, "text": "as it is"}
    assert flat_params(tree) == {
        "a.b.0": "1",
        "a.b.1.c": "null",
        "a.d": "{}",
        "uri": "postgresql://***@host/db",
        "on": "true",
        "text": "as it is",
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=1), inner)
    )
)
def test_any_tree_gives_params_that_mlflow_takes(leaf: object) -> None:
    for name, value in flat_params({"key": leaf}).items():
        assert re.fullmatch(r"[\w\-. :/]{1,250}", name)
        assert len(value) <= 6000
