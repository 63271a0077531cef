"""The runs of a comparison that a process finishes on its own, while no driver is there or is told of another end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_comparison import plan

from masklab.cluster.compare import runner as module
from masklab.cluster.compare.plan import ComparisonPlan, record_of
from masklab.cluster.connection import Share
from masklab.cluster.session import RunSession
from masklab.config.compose.yaml_io import dump
from masklab.reporting.comparison.terminal import ComparisonTerminal
from masklab.reporting.run.summary import NelboSummary, RunSummary
from masklab.tracking.mlflow_run import RunHandle

SUMMARY = RunSummary(
    name="run",
    folder="",
    curriculum="sticky",
    description="",
    mode="token_classifier",
    objective="",
    finished_because="the budget is spent",
    iterations=20,
    chars=2560,
    masked_chars=1000,
    parameters=1,
    flops_per_char=1.0,
    device="cpu",
    train_seconds=1.0,
    seconds_to_first_step=1.0,
    batches_digest="0",
    checkpoint=None,
    loss=1.0,
    metrics={},
    nelbo=NelboSummary(nats=2.0, stderr=0.1, bpc=3.0, sequences=32, exact=False, best_nats=2.0, best_iteration=20),
    stages=(),
    validation=(),
    warnings=(),
    sample="",
    browse=None,
)


@pytest.fixture
def made(tmp_path: Path, root: Path, text: str) -> ComparisonPlan:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    made = plan(tmp_path, root, "compare.curricula=[sticky]", "compare.controls=[]", "run.name=ends", "tracking.enabled=false")
    made.folder.begin(dump(made.runs[0].config))
    return made


def conducted(made: ComparisonPlan, root: Path, monkeypatch: pytest.MonkeyPatch, task: Any) -> list[tuple[str, str]]:
    """What becomes of the runs, all of which are waiting, when the first is finished while its folder is being left."""
    record = record_of(made, "")
    first = made.runs[0]

    def leave(folder: Path) -> None:
        if folder == first.folder.path:
            SUMMARY.write(folder)

    monkeypatch.setattr(module.ray, "put", lambda value: value)
    monkeypatch.setattr(module.ray, "wait", lambda tasks, **_: (tasks[:1], []))
    monkeypatch.setattr(module.ray, "get", lambda each: each())
    monkeypatch.setattr(module, "wait_until_left", leave)
    runner = module.ComparisonRunner(RunSession(made, record), Share(1, 1, 0), ComparisonTerminal(1))
    runner._task = SimpleNamespace(remote=task)
    runner.run(made.runs, 1)
    return [(run.status, run.reason) for run in runner.session.record.runs]


def failing(trial: Any) -> Any:
    def fail() -> None:
        raise OSError("no room")

    return fail


def test_a_run_that_was_finished_without_a_driver_is_not_trained_again(
    made: ComparisonPlan, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begin(trial: Any) -> Any:
        begun.append(trial.spec.run)
        return failing(trial)

    ended = conducted(made, root, monkeypatch, begin)
    assert begun == [f"ends/{run.name}" for run in made.runs[1:]]
    assert ended == [("finished", ""), *[("failed", "OSError: no room")] * len(begun)]


def test_a_run_whose_process_fails_after_its_end_is_finished(made: ComparisonPlan, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finishing(trial: Any) -> Any:
        SUMMARY.write(trial.info.folder)
        return failing(trial)

    ended = conducted(made, root, monkeypatch, finishing)
    assert set(ended) == {("finished", "")}


def test_runs_that_are_stopped_stand_as_killed_before_they_are_waited_for(
    made: ComparisonPlan, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    parent, child = RunHandle(None, folder=made.folder.path), RunHandle(None, folder=made.runs[0].folder.path)
    nested: Any = SimpleNamespace(parent=parent, child=lambda *_: child, end=lambda handle, status: told.append((handle, status)))

    def wait(tasks: list[Any], num_returns: int, timeout: float) -> Any:
        if not told:
            raise KeyboardInterrupt
        told.append("waited")
        return tasks, []

    monkeypatch.setattr(module.ray, "put", lambda value: value)
    monkeypatch.setattr(module.ray, "wait", wait)
    monkeypatch.setattr(module.ray, "cancel", lambda *_, **__: None)
    session = RunSession(made, record_of(made, ""))
    session.nested = nested
    runner = module.ComparisonRunner(session, Share(1, 1, 0), ComparisonTerminal(1))
    runner._task = SimpleNamespace(remote=lambda _: object())
    with pytest.raises(KeyboardInterrupt):
        runner.run(made.runs, 1)
    assert told == [(child, "KILLED"), (parent, "KILLED"), "waited", (child, "KILLED")]
