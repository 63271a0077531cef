"""A comparison that has passed every check that needs no cluster: its arms, and the configuration of each run.

Nothing but the prepared corpus is written until all runs have been found fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklab.cluster.session import SessionPlan, continued
from masklab.comparison.arms import Arm, Arms, arms_of
from masklab.config.compose.composition import compose, group_names
from masklab.config.compose.yaml_io import dump_values, validated
from masklab.config.home import run_name, runs_folder
from masklab.config.jobs.compare import CompareConfig, EqualBudget
from masklab.config.jobs.train import Config
from masklab.curriculum.controls import CONTROLS
from masklab.curriculum.timetable import timetable
from masklab.errors import ConfigError, RunError, did_you_mean
from masklab.io.paths import absolute_path
from masklab.model.size import ParameterCount, flops_per_char
from masklab.model.transformer import Transformer
from masklab.reporting.comparison.record import (
    ArmRecord,
    BudgetRecord,
    ComparisonRecord,
    LeftOutRecord,
    OutcomeRecord,
    RunRecord,
)
from masklab.reporting.run.summary import RunSummary
from masklab.sampling.generation import start_of
from masklab.text.corpus import TokenCorpus
from masklab.text.preparation import text_for
from masklab.tracking.mlflow_store import Store
from masklab.tracking.provenance import git_commit, versions
from masklab.training.data.validation_pools import Pools
from masklab.training.run_folder import RunFolder
from masklab.training.settings import BUDGETS, TrainingSettings

OWN_KEYS = ("compare", "report", "curriculum", "run")
"""The keys on the command line that do not apply to every arm; `curriculum` gives the baseline's."""


@dataclass(frozen=True)
class PlannedRun:
    """One arm under one seed, in a folder of its own."""

    arm: Arm
    seed: int
    config: Config
    folder: RunFolder

    @property
    def name(self) -> str:
        return f"{self.arm.name}/{self.folder.path.name}"


@dataclass(frozen=True)
class ComparisonPlan(SessionPlan[ComparisonRecord]):
    """`runs` in the order in which they are trained: all arms under the first seed, then all under the next."""

    config: CompareConfig
    corpus: TokenCorpus
    budget: EqualBudget
    arms: Arms
    runs: tuple[PlannedRun, ...]
    pools: Pools

    @classmethod
    def of(cls, config: CompareConfig, overrides: Sequence[str], project: Path, home: Path, started_at: float) -> ComparisonPlan:
        """Check everything. Raises a UserError for whatever is wrong."""
        budget = config.compare.budget
        assert budget, "the configuration has been checked"
        name = run_name(config.run, "compare", started_at)
        config = config.model_copy(update={"run": config.run.model_copy(update={"name": name})})
        arms = _arms(config, overrides, project)
        folder = RunFolder.claim(runs_folder(config.run, home), name, resolved(config, arms))
        store = Store.of(config.tracking, home) if config.tracking.is_sent else None
        corpus = text_for(config.dataset, home / ".corpora")
        training = equal_training(config, budget, corpus.vocabulary.size)
        _holds_an_evaluation(training, budget, arms)
        _reaches_every_stage(training, arms)
        runs = tuple(_runs(config, arms, training, folder))
        for run in runs[: len(arms.arms)]:
            run.config.recipe.batch_maker(corpus)
        start_of(config.sampling, corpus.vocabulary, config.training.block_size)
        pools = runs[0].config.recipe.pools(corpus)
        if store:
            store.check()
        return cls(config, project, folder, corpus, store, started_at, budget, arms, runs, pools)

    @property
    def title(self) -> str:
        return f"### Comparison of {', '.join(self.config.compare.curricula)}"

    def statuses(self, record: ComparisonRecord) -> dict[RunFolder, str]:
        return {RunFolder(self.folder.path / run.folder): run.status for run in record.runs}

    def config_yaml(self) -> str:
        return dump_values(resolved(self.config, self.arms))

    def tags(self) -> dict[str, str]:
        return super().tags() | {"pools_digest": self.pools.digest}

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(run.seed for run in self.runs))


def resolved(config: CompareConfig, arms: Arms) -> dict[str, Any]:
    """The config that the comparison's folder is begun with, as plain values, with the curriculum and objective of each arm."""
    return config.model_dump(mode="json") | {"arms": {arm.name: _sections(arm) for arm in arms.arms}}


def _sections(arm: Arm) -> dict[str, Any]:
    return {"curriculum": arm.curriculum.model_dump(mode="json"), "objective": arm.objective.model_dump(mode="json")}


def find_comparison(reference: str, home: Path) -> Path:
    """The folder of the comparison `reference`: a name among the runs in `home`, or a folder. Raises RunError."""
    for folder in (home / "runs" / reference, absolute_path(reference, "report")):
        if folder.is_dir():
            return folder
    known = sorted(path.parent.name for path in (home / "runs").glob("*/comparison.json"))
    there = f"there are {', '.join(known)}{did_you_mean(reference, known)}" if known else "there is none yet"
    raise RunError(f"report = {reference!r}: no such comparison in {home / 'runs'}; {there}")


def equal_training(config: CompareConfig, budget: EqualBudget, vocabulary_size: int) -> TrainingSettings:
    """The training section of every run: that of `config`, with the comparison's budget in place of its own."""
    unit, amount = budget.unit, getattr(budget, budget.unit)
    if unit == "max_flops":
        each = flops_per_char(config.model, vocabulary_size, config.training.block_size)
        unit, amount = "max_chars", math.floor(amount / each)
        if amount < 1:
            raise ConfigError(
                f"compare.budget.max_flops = {budget.max_flops:g}: one character costs {each:g} FLOPs with this model; raise it"
            )
    return TrainingSettings.model_validate(config.training.model_dump() | dict.fromkeys(BUDGETS) | {unit: amount})


def _arms(config: CompareConfig, overrides: Sequence[str], project: Path) -> Arms:
    """The arms of `config`. Raises ConfigError for a curriculum that is not there or cannot be compared."""
    names, settings = group_names(project, ["curriculum"])["curriculum"], config.compare
    for name in settings.curricula:
        if name not in names:
            raise ConfigError(f"compare.curricula: no such curriculum: {name!r}; there are {', '.join(names)}{did_you_mean(name, names)}")
    shared = [word for word in overrides if word.lstrip("+~").partition("=")[0].split(".")[0] not in OWN_KEYS]
    composed = [compose([*shared, f"curriculum={name}"], project) for name in settings.curricula]
    curricula = [Arm(c.curriculum.name, c.curriculum, c.objective, c.curriculum.description) for c in composed]
    baseline = Arm(config.curriculum.name, config.curriculum, config.objective, config.curriculum.description)
    return arms_of(curricula, baseline, settings.chosen_controls, config.run.seed, settings.tail_share)


def _runs(config: CompareConfig, arms: Arms, training: TrainingSettings, folder: RunFolder) -> Iterator[PlannedRun]:
    """Every run with its checked configuration, all arms of a seed together."""
    sections = {name: value for name, value in config.model_dump(mode="json").items() if name in Config.model_fields}
    for seed in range(config.run.seed, config.run.seed + config.compare.seeds):
        for arm in arms.arms:
            own = RunFolder(folder.path / "arms" / arm.name / f"seed-{seed}")
            changed = {
                "run": {"name": own.path.name, "seed": seed, "folder": str(own.path.parent)},
                "training": training.model_dump(mode="json"),
            }
            yield PlannedRun(arm, seed, validated(sections | changed | _sections(arm)), own)


def _holds_an_evaluation(training: TrainingSettings, budget: EqualBudget, arms: Arms) -> None:
    """Raise ConfigError where a run would end before its first evaluation. A budget in minutes cannot be checked."""
    if training.max_chars is not None:
        steps, each = training.max_chars / training.chars_per_step, float(training.chars_per_step)
    elif training.max_masked_chars is not None:
        stages = [stage for arm in arms.arms for stage in arm.curriculum.stages]
        each = training.chars_per_step * max(stage.masking.expected_ratio(training.block_size) for stage in stages)
        steps = training.max_masked_chars / each
    else:
        return
    if math.ceil(steps) < training.eval_interval:
        enough = budget.amount / steps * training.eval_interval
        raise ConfigError(
            f"compare.budget.{budget.unit} = {budget.amount:,.0f}: is spent after {math.ceil(steps)} steps, before the first evaluation "
            f"at step {training.eval_interval} (training.eval_interval); give at least {enough:,.0f}, or evaluate more often"
        )


def _reaches_every_stage(training: TrainingSettings, arms: Arms) -> None:
    """Raise ConfigError where an arm would end before its last stage begins, since it would not show its whole curriculum.

    Stages end only at evaluations. Budgets not given in characters cannot be checked in advance; the report shows the time per stage.
    """
    if training.max_chars is None:
        return
    iterations = math.ceil(training.max_chars / training.chars_per_step)
    for arm in arms.arms:
        begins = timetable(arm.curriculum, iterations, training.eval_interval)
        if arm.curriculum.mixing != "all" and None in begins:
            raise ConfigError(
                f"training.eval_interval = {training.eval_interval}: stages end at evaluations, and in {iterations} iterations stage "
                f"{begins.index(None)} of {arm.name} would never begin; evaluate more often, or give a larger compare.budget"
            )


def record_of(plan: ComparisonPlan, command: str) -> ComparisonRecord:
    """The record before anything is started, including finished runs under seeds that this command does not ask for."""
    earlier = ComparisonRecord.read(plan.folder.path) if (plan.folder.path / ComparisonRecord.FILE).exists() else None
    runs = tuple(run_record(plan, run) for run in plan.runs)
    if earlier:
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
        parameters=ParameterCount.of(Transformer(first.model, size.size, size.extended_size)).total,
        flops_per_char=flops_per_char(first.model, size.size, first.training.block_size),
        versions=versions(),
        git_commit=git_commit(plan.project),
        **continued(earlier, command),
    )


def run_record(plan: ComparisonPlan, run: PlannedRun) -> RunRecord:
    """The run's record from its folder: finished, failed where training diverged, else waiting."""
    known = RunRecord(arm=run.arm.name, seed=run.seed, folder=str(run.folder.path.relative_to(plan.folder.path)))
    if not run.folder.is_finished:
        return known
    outcome = OutcomeRecord.of(RunSummary.read(run.folder.path))
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
            **_sections(arm),
        )
        for arm in plan.arms.arms
    )
