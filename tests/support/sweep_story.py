"""A sweep's record whose truth is known."""

from __future__ import annotations

from typing import Any

from masklab.reporting.sweep.record import SweepRecord, TrialRecord


def record(*trials: TrialRecord, **known: Any) -> SweepRecord:
    """The record of a random search that holds `trials`; `known` are the parts of it that a test is about."""
    told: dict[str, Any] = {
        "name": "s",
        "search": "random",
        "space": {"training.learning_rate": "log(0.0001,0.01)"},
        "budget": "20 iters",
        "dataset": "text",
        "corpus_fingerprint": "f",
        "versions": {},
        "git_commit": None,
        "retrain": None,
        "commands": (),
        "mlflow_run_id": None,
        "browse": None,
    }
    return SweepRecord(trials=trials, **(told | known))
