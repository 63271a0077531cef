"""What is told of a run that begins with another's weights: at the terminal, in its summary and by its tags."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import run_story
from rich.console import Console

from masklab.model.transfer_report import Part, TransferReport
from masklab.reporting.run.reporter import Reporter
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.terminal import Terminal
from masklab.tracking.provenance import source_tags
from masklab.tracking.tracker import NullTracker
from masklab.training.events import RunStarted, Unfrozen
from masklab.training.settings import Ancestor, TransferSettings

REPORT = TransferReport(
    (Part("2 blocks and the last norm", 900),), (Part("head of 3 outputs", 100),), (Part("head", 50),), ("blocks: 64 characters",)
)


def ancestor(run: str, mode: str) -> Ancestor:
    return Ancestor(run=run, checkpoint=f"/runs/{run}", manifest_sha256="f" * 64, mode=mode, iteration=1200, mlflow_run_id=f"id-{run}")


LINEAGE = (ancestor("second", "sequence_classifier"), ancestor("first", "token_classifier"))


def begun() -> RunStarted:
    return replace(run_story.started(), parameters=1000, trainable=100, transfer=REPORT, lineage=LINEAGE)


def told(folder: Path, *events: object) -> tuple[list[str], RunSummary | None]:
    file = StringIO()
    info = run_story.info(folder)
    reporter = Reporter(info, NullTracker(), Terminal(info, Console(file=file, width=100, highlight=False, _environ={})))
    for event in events:
        reporter.handle(event)  # type: ignore[arg-type]
    return [" ".join(line.split()) for line in file.getvalue().splitlines()], reporter.summary


def test_the_table_says_what_is_trained_and_where_the_weights_come_from(tmp_path: Path) -> None:
    lines, _ = told(tmp_path, begun())
    assert lines[1:9] == [
        "begins with second, iteration 1,200 (sequence_classifier), which began with first, iteration 1,200",
        "(token_classifier)",
        "total 1,000 100.0% parameters",
        "trained 100 10.0% parameters",
        "frozen 900 90.0% parameters",
        "loaded 900 2 blocks and the last norm",
        "new 100 head of 3 outputs",
        "left 50 head",
    ]
    assert lines[9] == "blocks: 64 characters"


def test_a_run_that_begins_afresh_has_no_table(tmp_path: Path) -> None:
    lines, _ = told(tmp_path, replace(run_story.started(), trainable=run_story.started().parameters))
    assert not any(line.startswith(("total", "loaded", "begins")) for line in lines)


def test_the_unfreezing_is_told(tmp_path: Path) -> None:
    lines, _ = told(tmp_path, run_story.started(), Unfrozen(40, 1000))
    assert "iteration 40: all 1,000 parameters are trained from here on" in lines


def test_the_summary_keeps_the_table_and_the_lineage(tmp_path: Path) -> None:
    _, summary = told(tmp_path, begun(), *run_story.story(tmp_path)[1:])
    assert summary is not None and summary.transfer is not None
    assert (summary.trainable_parameters, summary.parameters) == (100, 1000)
    assert (summary.transfer.new, summary.transfer.notes) == ({"head of 3 outputs": 100}, REPORT.notes)
    assert [each["run"] for each in summary.lineage] == ["second", "first"]
    assert RunSummary.read(tmp_path) == summary


def test_the_tags_link_to_the_nearest_source_alone() -> None:
    tags = source_tags(TransferSettings(init_checkpoint="second", lineage=LINEAGE))
    assert (tags["source_run_id"], tags["source_run"], tags["source_checkpoint"]) == ("id-second", "second", "/runs/second")
    assert tags["source_checkpoint_sha256"] == "f" * 64
    assert source_tags(TransferSettings()) == {}
    bare = LINEAGE[0].model_copy(update={"run": None, "mlflow_run_id": None})
    assert source_tags(TransferSettings(init_checkpoint="x", lineage=(bare,))).keys() == {
        "source_checkpoint",
        "source_checkpoint_sha256",
        "source_mode",
    }
