"""Summary, history, description and figures of a run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import run_story

from masklab.curriculum.curriculum import Curriculum
from masklab.errors import RunError
from masklab.modes.token_classifier import TokenClassifier
from masklab.reporting.plots import colour_of, confusion_plot, loss_plot, masks_plot, mean_run, save_plot
from masklab.reporting.run.history import History
from masklab.reporting.run.reporter import Reporter
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import plan_markdown, summary_markdown
from masklab.tracking.provenance import git_commit, run_tags
from masklab.tracking.tracker import NullTracker
from masklab.training.events import Event, RunFinished
from masklab.training.settings import TrainingSettings


def report(folder: Path, events: list[Event] | None = None) -> RunSummary:
    reporter = Reporter(run_story.info(folder), NullTracker())
    for event in run_story.story(folder) if events is None else events:
        reporter.handle(event)
    assert reporter.summary is not None
    return reporter.summary


def history_of(events: list[Event]) -> History:
    history = History()
    for event in events:
        history = history.after(event)
    return history


def strict_json(path: Path) -> Any:
    def refuse(literal: str) -> None:
        raise AssertionError(f"{literal} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_the_summary_survives_its_file(tmp_path: Path) -> None:
    summary = report(tmp_path)
    assert RunSummary.read(tmp_path) == summary
    assert strict_json(tmp_path / "summary.json")["nelbo"]["nats"] == pytest.approx(2.1)


def test_the_summary_has_best_and_final_figures_and_the_stages(tmp_path: Path) -> None:
    summary = report(tmp_path)
    assert [(p.best_loss, p.best_iteration, p.final_loss) for p in summary.validation] == [(1.9, 300, 1.8), (2.25, 400, 2.2)]
    assert [(s.began_at, s.ended_at) for s in summary.stages] == [(0, 200), (200, 400)]
    assert summary.stages[0].reason == "5 evaluations without improvement"
    assert summary.seconds_to_first_step == 12.5
    assert summary.checkpoint == str(tmp_path / "checkpoints" / "400")
    assert summary.nelbo.best_iteration == 300


def test_figures_that_are_not_finite_read_null(tmp_path: Path) -> None:
    bad = replace(run_story.finished(losses=(math.nan, math.inf)), train_seconds=math.inf)
    summary = report(tmp_path, [run_story.started(), run_story.evaluated(100, (math.nan, 2.0)), bad])
    written = strict_json(tmp_path / "summary.json")
    assert {"figures", "troubles"} <= written.keys() and "final_figures" in written["validation"][0], "the keys of the file stay"
    assert written["loss"] is None
    assert written["train_seconds"] is None
    assert written["validation"][0]["best_loss"] is None
    assert RunSummary.read(tmp_path) == summary
    assert "diverged" in summary.warnings[0]
    summary_markdown(summary)


def test_a_stage_that_was_never_reached_says_so(tmp_path: Path) -> None:
    summary = report(tmp_path, [run_story.started(), run_story.finished(stage=0)])
    assert (summary.stages[1].began_at, summary.stages[1].reason) == (None, "never reached")
    assert summary.validation[0].best_loss is None
    assert any("never reached" in words for words in summary.warnings)


def test_a_run_that_finds_its_budget_spent_has_no_first_step(tmp_path: Path) -> None:
    assert report(tmp_path, [run_story.started(400), replace(run_story.finished(), first_step_at=0.0)]).seconds_to_first_step is None


def test_a_resumed_run_keeps_its_earlier_figures_once(tmp_path: Path) -> None:
    first = Reporter(run_story.info(tmp_path), NullTracker())
    for event in run_story.story(tmp_path)[:10]:  # dies after iteration 300, saved at 100
        first.handle(event)
    again = Reporter(run_story.info(tmp_path), NullTracker())
    for event in [run_story.started(100, resumed_from=tmp_path / "checkpoints" / "100"), *run_story.story(tmp_path)[5:]]:
        again.handle(event)
    assert again.summary is not None
    assert again.summary.validation == report(tmp_path / "whole").validation
    assert [e.iteration for e in History.read(tmp_path).evaluations] == [100, 200, 300, 400]


def test_a_history_says_what_was_spent(tmp_path: Path) -> None:
    history_of(run_story.story()).write(tmp_path)
    first = History.read(tmp_path).evaluations[0]
    assert (first.chars, first.masked_chars, first.elapsed_seconds) == (100 * 2048, 100 * 410, 25.0)


def test_a_damaged_history_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{")
    with pytest.raises(RunError, match=r"history\.json"):
        History.read(tmp_path)


def test_the_description_is_a_page_of_plain_markdown(tmp_path: Path) -> None:
    stages = (replace(run_story.STICKY, title="a | b <script>"), run_story.DIFFUSION)
    text = plan_markdown(run_story.info(stages=stages))
    assert "a \\| b &lt;script>" in text
    text = summary_markdown(report(tmp_path))
    assert "**NELBO 3.0297 bits per character**" in text
    assert "Hark, [bold]who[/bold] goes" in text
    assert all(line.count("|") in {0, 6, 8} for line in text.splitlines()), "tables are regular"


def test_a_stage_keeps_its_colour_in_every_figure() -> None:
    figure = loss_plot(history_of(run_story.story()), run_story.info())
    (axes,) = figure.axes
    assert [line.get_color() for line in axes.get_lines()[:2]] == [colour_of(0), colour_of(1)]
    masks = masks_plot([("a", np.ones((4, 8), bool)), ("b", np.zeros((4, 8), bool))])
    for i, panel in enumerate(masks.axes):
        assert "#{:02x}{:02x}{:02x}".format(*(round(255 * c) for c in panel.images[0].cmap(1.0)[:3])).upper() == colour_of(i)


def test_the_loss_figure_shows_curves_and_boundaries() -> None:
    figure = loss_plot(history_of(run_story.story()), run_story.info())
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_xdata()) == [100, 200, 300, 400]
    assert list(axes.get_lines()[1].get_ydata()) == [3.0, 2.8, 2.3, 2.25]
    assert {200} == {line.get_xdata()[0] for line in axes.get_lines() if len(set(line.get_xdata())) == 1}
    assert {text.get_text() for text in axes.texts} == {"stage 0", "stage 1"}


def test_figures_are_written_without_a_display_and_without_evaluations(tmp_path: Path) -> None:
    save_plot(loss_plot(History(), run_story.info()), tmp_path / "new" / "loss.png")
    assert (tmp_path / "new" / "loss.png").read_bytes().startswith(b"\x89PNG")
    save_plot(masks_plot([("a", np.zeros((1, 8), bool))]), tmp_path / "masks.svg")
    assert ElementTree.parse(tmp_path / "masks.svg").getroot().tag.endswith("svg")


def test_the_mean_run_counts_runs_within_rows() -> None:
    assert mean_run(np.array([[1, 1, 0, 1], [1, 0, 0, 0]], bool)) == pytest.approx(4 / 3)
    assert mean_run(np.zeros((2, 3), bool)) == 0


def test_masks_are_drawn_into_the_run_folder(tmp_path: Path) -> None:
    Reporter(run_story.info(tmp_path), NullTracker()).show_masks([("a", np.eye(8, dtype=bool))])
    assert (tmp_path / "figures" / "masks.png").stat().st_size > 1000


def test_a_confusion_matrix_is_drawn_where_texts_have_classes(tmp_path: Path) -> None:
    events = run_story.story(tmp_path)
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    told = replace(finished, evaluation=replace(finished.evaluation, confusion=((3, 1), (0, 5))))
    report(tmp_path / "without", [*events[:-1], told])
    assert not (tmp_path / "without" / "figures" / "confusion.png").exists()
    reporter = Reporter(replace(run_story.info(tmp_path), classes=("no", "yes", "never")), NullTracker())
    for event in [*events[:-1], told]:
        reporter.handle(event)
    assert (tmp_path / "figures" / "confusion.png").stat().st_size > 1000
    axes = confusion_plot(((3, 1), (0, 5)), ("no", "yes", "never"), "mine").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "3", "5"]
    assert axes.get_title("left") == "mine (accuracy 88.9% of 9)"
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 0]])


def test_names_of_classes_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    names = (r"$\no$", "a\x1b[2J\nb", "<b>bold</b> " + "x" * 40, "\ud800")
    figure = confusion_plot(np.eye(4, dtype=np.int64), names, "mine")
    save_plot(figure, tmp_path / "confusion.png")
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == [r"$\no$", "a\ufffd[2J b", "<b>bold</b> xxxxxxxxx…", "\ufffd"]


def outline_of(stages: list[dict[str, object]], **training: object) -> RunInfo:
    return RunInfo.of(
        name="x",
        folder=Path("/x"),
        curriculum=Curriculum.model_validate({"stages": stages, "mixing": "cumulative"}),
        mode=TokenClassifier(),
        objective="",
        training=TrainingSettings.model_validate(training),
        vocabulary_size=65,
        started_at=0.0,
    )


def test_the_outline_of_a_curriculum_has_its_targets() -> None:
    info = outline_of([{"type": "random", "max_ratio": 0.4}, {"type": "exact_count"}], block_size=99)
    assert info.target_ratio(0) == pytest.approx(0.2)
    assert info.target_ratio(1) == pytest.approx((0.2 + 50 / 99) / 2)
    assert info.pools_match_stages()


def test_the_outline_has_the_stages_that_the_budget_leaves_out() -> None:
    stages: list[dict[str, object]] = [{"type": "exact_count", "max_share": 0.1}] * 3
    step = {"batch_size": 4, "block_size": 32}
    assert outline_of(stages, max_iters=30, eval_interval=10).unreachable == ()
    assert outline_of(stages, max_iters=20, eval_interval=10).unreachable == (2,)
    assert outline_of(stages, max_chars=20 * 128, eval_interval=10, **step).unreachable == (2,)
    assert outline_of(stages, max_chars=20 * 128 + 1, eval_interval=10, **step).unreachable == ()
    assert outline_of(stages, max_minutes=0.1, eval_interval=10).unreachable == (), "how many steps these are is not known"


def test_a_stage_that_begins_as_the_run_ends_is_no_trained_stage_of_its_summary(tmp_path: Path) -> None:
    events = [run_story.started(), run_story.evaluated(400, next_stage=1), run_story.advanced(400), run_story.finished(400)]
    summary = report(tmp_path, events)
    assert (summary.stages[1].began_at, summary.stages[1].reason) == (400, "it began as the run ended: no iterations")
    assert any("got no iterations" in words for words in summary.warnings)


def test_tags_name_the_commit_and_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_SUBMISSION_ID", raising=False)
    assert git_commit(tmp_path) is None
    assert run_tags(tmp_path, "f" * 64, "abcd") == {"corpus_fingerprint": "f" * 64, "curriculum_hash": "abcd"}
    assert run_tags(tmp_path, "", "", job_id="raysubmit_1")["job_id"] == "raysubmit_1"


def test_reports_are_imported_without_heavy_libraries() -> None:
    imports = (
        "from masklab.reporting.run import reporter; from masklab.tracking import mlflow_tracker, mlflow_run, mlflow_store, provenance"
    )
    code = f"import sys; {imports}; print(sorted({{'torch', 'ray', 'mlflow', 'matplotlib'}} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert words.stdout.strip() == "[]"
