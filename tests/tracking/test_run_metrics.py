"""Names and figures of the metrics, and the flat parameters."""

from __future__ import annotations

import math
import re

import pytest
import run_story
from hypothesis import given
from hypothesis import strategies as st

from masklab.tracking.metrics import metrics_of
from masklab.tracking.params import flat_params

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


def test_figures_come_from_the_event() -> None:
    assert metrics_of(run_story.step(7, loss=2.25))["train/loss"] == 2.25
    assert "perf/mfu" not in metrics_of(run_story.step(7))
    metrics = metrics_of(run_story.evaluated(100, (2.0, 3.0)))
    assert metrics["val/stage_loss/01"] == 3.0
    assert metrics["val/loss"] == 2.5
    assert metrics["val/nelbo_bpc"] == pytest.approx(metrics["val/nelbo_nats"] / math.log(2))
    assert metrics["curriculum/best_loss"] == 2.0


def test_a_stage_that_has_just_begun_has_no_best() -> None:
    metrics = metrics_of(run_story.evaluated(100, next_stage=1))
    assert metrics["curriculum/stage"] == 1
    assert "curriculum/best_loss" not in metrics


def test_events_without_figures_have_no_metrics() -> None:
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
