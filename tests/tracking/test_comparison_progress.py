"""What is told of a comparison on its way, and its plain table."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from masklab.errors import RunError
from masklab.tracking.comparison_record import ArmRecord, BudgetRecord, ComparisonRecord, LeftOutRecord, OutcomeRecord, RunRecord
from masklab.tracking.comparison_table import arm_rows, markdown_table, text_table
from masklab.tracking.comparison_terminal import ComparisonTerminal

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
        troubles=(),
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


def test_the_table_takes_differences_seed_by_seed() -> None:
    uniform, sticky = arm_rows(record())
    assert (uniform.difference, uniform.nats) == (None, pytest.approx(2.05))
    assert sticky.difference == pytest.approx((0.10 + 0.15 + 0.07) / 3)
    assert sticky.stderr == pytest.approx(0.0233, abs=1e-4)
    assert [line.split()[0] for line in text_table(record())] == ["arm", "uniform", "sticky"]
    assert markdown_table(record()).count("\n") == 3


def test_a_run_that_failed_leaves_its_pair_out() -> None:
    made = changed(record(), "uniform", 1, status="failed")
    uniform, sticky = arm_rows(made)
    assert (uniform.runs, sticky.runs) == (2, 3)
    assert sticky.difference == pytest.approx((0.10 + 0.07) / 2)
    assert arm_rows(changed(made, "uniform", 0, status="waiting"))[1].difference is None, "one pair has no spread"
    assert arm_rows(record(baseline=None))[1].difference is None


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
