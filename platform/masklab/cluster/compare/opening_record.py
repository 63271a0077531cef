"""What is known of a comparison before anything is started: its arms, its settings, and what its runs' folders hold already."""

from __future__ import annotations

from pathlib import Path

from masklab.cluster.compare.plan import ComparisonPlan, PlannedRun
from masklab.curriculum.controls import CONTROLS
from masklab.model.size import flops_per_char, parameter_count
from masklab.model.transformer import Transformer
from masklab.reporting.comparison.record import (
    FILE,
    ArmRecord,
    BudgetRecord,
    ComparisonRecord,
    LeftOutRecord,
    OutcomeRecord,
    RunRecord,
)
from masklab.reporting.run.summary import RunSummary
from masklab.tracking.provenance import git_commit, versions


def record_of(plan: ComparisonPlan, project: Path, command: str) -> ComparisonRecord:
    """What is known of the comparison before anything is started, earlier runs under seeds that are not asked for now included."""
    earlier = ComparisonRecord.read(plan.folder.path) if (plan.folder.path / FILE).exists() else None
    runs = tuple(run_record(plan, run) for run in plan.runs)
    commands: tuple[str, ...] = (command,)
    if earlier:
        commands = earlier.commands if command in earlier.commands[-1:] else (*earlier.commands, command)
        asked = {(run.arm, run.seed) for run in runs}
        runs += tuple(run for run in earlier.runs if run.status == "finished" and (run.arm, run.seed) not in asked)
    first = plan.runs[0].config
    size = plan.corpus.vocabulary
    return ComparisonRecord(
        name=plan.name,
        baseline=plan.arms.baseline,
        budget=BudgetRecord.model_validate({"unit": plan.budget.unit, "amount": plan.budget.amount, "chars": first.training.max_chars}),
        margin=plan.config.compare.margin,
        seeds=tuple(sorted({run.seed for run in runs})),
        arms=_arm_records(plan),
        left_out=tuple(LeftOutRecord.model_validate(vars(left_out)) for left_out in plan.arms.left_out),
        validation=tuple(stage.masking.describe() for stage in first.curriculum.pools),
        runs=runs,
        dataset=first.dataset.name,
        corpus_fingerprint=plan.corpus.fingerprint,
        pools_digest=plan.pools.digest,
        yardstick_sequences=len(plan.pools.final_nelbo or ()),
        vocabulary_size=size.size,
        block_size=first.training.block_size,
        parameters=parameter_count(Transformer(first.model, size.size, size.extended_size)).total,
        flops_per_char=flops_per_char(first.model, size.size, first.training.block_size),
        versions=versions(),
        git_commit=git_commit(project),
        commands=commands,
        mlflow_run_id=earlier.mlflow_run_id if earlier else None,
        browse=earlier.browse if earlier else None,
    )


def run_record(plan: ComparisonPlan, run: PlannedRun) -> RunRecord:
    """What the run's own folder tells of it: finished, failed where training diverged, else waiting."""
    known = RunRecord(arm=run.arm.name, seed=run.seed, folder=str(run.folder.path.relative_to(plan.folder.path)))
    if not run.folder.is_finished:
        return known
    outcome = OutcomeRecord.of(RunSummary.read(run.folder.path / "summary.json"))
    if outcome.nelbo_nats is None:
        return known.model_copy(update={"status": "failed", "reason": "it diverged: its final NELBO is not a number", "outcome": outcome})
    return known.model_copy(update={"status": "finished", "outcome": outcome})


def _arm_records(plan: ComparisonPlan) -> tuple[ArmRecord, ...]:
    return tuple(
        ArmRecord(
            name=arm.name,
            description=arm.description,
            control=arm.control,
            question=CONTROLS[arm.control].description if arm.control else None,
            controls_for=arm.controls_for,
            curriculum=arm.curriculum.model_dump(mode="json"),
            objective=arm.objective.model_dump(mode="json"),
        )
        for arm in plan.arms.arms
    )
