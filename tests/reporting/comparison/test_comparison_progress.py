"""What is told of a comparison on its way, and its plain table."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from comparison_story import realistic
from rich.console import Console

from masklab.errors import RunError
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.record import ArmRecord, BudgetRecord, ComparisonRecord, LeftOutRecord, OutcomeRecord, RunRecord
from masklab.reporting.comparison.tables import arm_rows, markdown_arms, text_table
from masklab.reporting.comparison.terminal import ComparisonTerminal, show_findings

FIGURES = {"uniform": (2.00, 2.10, 2.05), "sticky": (2.10, 2.25, 2.12)}


def outcome(nats: float) -> OutcomeRecord:
    return OutcomeRecord(
        nelbo_nats=nats,
        nelbo_stderr=0.01,
        nelbo_bpc=nats / 0.693,
        iterations=20,
        chars=2560,
        masked_chars=1200,
        flops=1e9,
        train_seconds=4.0,
        parameters=4000,
        device="cpu",
        batches_digest="0" * 16,
        checkpoint=None,
        dwell=(),
        warnings=(),
    )


def arm(name: str) -> ArmRecord:
    return ArmRecord(name=name, description=f"What {name} is.", control=None, question=None, controls_for=None, curriculum={}, objective={})


def record(baseline: str | None = "uniform") -> ComparisonRecord:
    runs = [
        RunRecord(arm=name, seed=seed, folder=f"arms/{name}/seed-{seed}", status="finished", outcome=outcome(nats))
        for name, figures in FIGURES.items()
        for seed, nats in enumerate(figures)
    ]
    return ComparisonRecord(
        name="pair",
        baseline=baseline,
        budget=BudgetRecord(unit="max_chars", amount=2560, chars=2560),
        margin=0,
        seeds=(0, 1, 2),
        arms=tuple(arm(name) for name in FIGURES),
        left_out=(LeftOutRecord(control="reversed", controls_for="sticky", reason="it reads the same backwards", same_as=None),),
        validation=(),
        runs=tuple(runs),
        dataset="text",
        corpus_fingerprint="f",
        pools_digest="p",
        yardstick_sequences=32,
        vocabulary_size=20,
        block_size=32,
        parameters=4000,
        flops_per_char=1e4,
        versions={},
        git_commit=None,
        commands=("python jobs/compare.py",),
        mlflow_run_id=None,
        browse=None,
    )


def changed(made: ComparisonRecord, arm: str, seed: int, **update: object) -> ComparisonRecord:
    run = next(run for run in made.runs if (run.arm, run.seed) == (arm, seed))
    return made.with_run(run.model_copy(update=update))


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = changed(record(), "sticky", 1, status="failed", reason="it diverged", outcome=None)
    made.write(tmp_path)
    assert ComparisonRecord.read(tmp_path) == made


@pytest.mark.parametrize("content", [None, "{", '{"format": 2}'])
def test_a_record_that_is_missing_damaged_or_of_another_format_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(RunError, match=r"comparison\.json"):
        ComparisonRecord.read(tmp_path)


def test_the_table_takes_differences_seed_by_seed_and_says_the_verdict() -> None:
    uniform, sticky = arm_rows(record())
    assert (uniform.contrast, uniform.nats, uniform.verdict) == (None, pytest.approx(2.05), "baseline")
    assert sticky.contrast and sticky.contrast.difference == pytest.approx((0.10 + 0.15 + 0.07) / 3)
    assert sticky.contrast.stderr == pytest.approx(0.0233, abs=1e-4)
    head, first, second = text_table(record())
    assert [part.strip() for part in head.split("  ") if part] == ["arm", "seeds", "NELBO, nats", "to uniform", "95 % interval", "verdict"]
    assert [first.split()[0], second.split()[0]] == ["uniform", "sticky"]
    assert second.endswith("  " + sticky.contrast.verdict.value)
    assert markdown_arms(record()).count("\n") == 3


def test_the_verdicts_of_the_table_are_those_of_the_report(tmp_path: Path) -> None:
    story = realistic()
    made = story.write(tmp_path)
    verdicts = {row.arm: row.verdict for row in arm_rows(made)}
    findings = Findings.read(tmp_path)
    for arm in set(verdicts) - {"uniform"}:
        pair = findings.pair(arm, "uniform")
        assert pair and pair.contrast and pair.contrast.verdict.value == verdicts[arm]
    assert verdicts["sticky"] == "better" and verdicts["rising"] == "worse"


def test_a_run_that_failed_leaves_its_pair_out() -> None:
    made = changed(record(), "uniform", 1, status="failed")
    uniform, sticky = arm_rows(made)
    assert (uniform.runs, sticky.runs) == (2, 3)
    assert sticky.contrast and sticky.contrast.difference == pytest.approx((0.10 + 0.07) / 2)
    lonely = arm_rows(changed(made, "uniform", 0, status="waiting"))[1]
    assert (lonely.contrast, lonely.verdict) == (None, "no verdict"), "one pair has no spread"
    assert arm_rows(record(baseline=None))[1].verdict == "no verdict"


def test_the_last_word_has_a_line_for_each_warning(tmp_path: Path) -> None:
    notices = tuple(f"sign {n}" for n in range(10))
    replace(realistic(), failed={("sticky", 2): "it diverged"}, warnings=notices).write(tmp_path)
    console = Console(file=io.StringIO(), width=60)
    show_findings(Findings.read(tmp_path), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "warning  sticky, seed 2, failed: it diverged" in lines
    assert [line for line in lines if line.startswith("notice")] == [f"notice  sign {n} (49 runs of 10 arms)" for n in range(8)]
    assert lines[-1] == "2 further notices in the report"
    assert next(line for line in lines if line.startswith("sticky ")).split()[1] == "4"


def test_the_line_counts_runs_and_estimates_the_time_left_by_their_pace() -> None:
    now = [0.0]
    terminal = ComparisonTerminal(2, Console(file=io.StringIO()), clock=lambda: now[0])
    made = record()
    for name, seed in (("sticky", 1), ("sticky", 2)):
        made = changed(made, name, seed, status="waiting", outcome=None)
    made = changed(made, "uniform", 2, status="running", outcome=None)
    assert terminal.line(made) == "3 of 6 runs done, 1 running, 0 failed   best uniform/seed-0 2.0000 nats   – left"
    now[0] = 30.0
    terminal.ended(made, made.runs[0])
    assert terminal.line(made).endswith("1:30 left")


def test_the_terminal_says_what_is_compared_what_is_left_out_and_what_failed() -> None:
    console = Console(file=io.StringIO(), width=200)
    terminal = ComparisonTerminal(2, console)
    made = changed(record(), "sticky", 1, status="failed", reason="checkpoint: no space left", outcome=None)
    terminal.begin(made)
    terminal.ended(made, next(run for run in made.runs if run.status == "failed"))
    terminal.close()
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 arms x 3 seeds, each run 2,560 chars, 2 at a time" in printed
    assert "What sticky is." in printed and "it reads the same backwards" in printed
    assert "sticky/seed-1: checkpoint: no space left" in printed
