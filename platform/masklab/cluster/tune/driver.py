"""The driver of a sweep: checks every trial, trains those that are not over, and tells which was best.

Which trials are finished is read from their own folders, and which were stopped early from the sweep's record, so that the same
command goes on where an earlier one was stopped; nothing depends on what Tune keeps for itself.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from masklab.cluster.connection import Share, connected, nodes_of_the_cluster, room, share_for
from masklab.cluster.tune.plan import PlannedTrial, SweepPlan, budget_of, earlier_record
from masklab.cluster.tune.report import draw, keep, show
from masklab.config.compose.yaml_io import dump
from masklab.config.home import home_of
from masklab.config.jobs.tune import TuneConfig
from masklab.errors import RunError
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal
from masklab.tracking.nested_runs import REPORTED, NestedRuns, ending
from masklab.tracking.provenance import DatasetInput, git_commit, run_tags, source_tags, versions
from masklab.training.folder_lock import alone
from masklab.training.run_folder import RunFolder


def tune(config: TuneConfig, overrides: Sequence[str], project: Path, started_at: float) -> int:
    """Train what is missing of a sweep, and tell its best trial. `overrides` are the words of the command that made `config`.

    Returns the exit status: 1 when a trial has failed. Raises UserError for a user's mistake.
    """
    plan = SweepPlan.of(config, overrides, project, home_of(project), started_at)
    record = opening_record(plan, shlex.join(["python", "jobs/tune.py", *overrides]))
    is_over = len(record.trials) >= plan.wanted and all(trial.status != "waiting" for trial in record.trials)
    if is_over and plan.folder.memory().get(REPORTED, True):
        print(f"sweep '{plan.name}' is finished already; raise sweep.num_trials to add to it, or give another run.name")
        show(record)
        return int(any(trial.status == "failed" for trial in record.trials))
    try:
        with nullcontext() if is_over else connected(project / "platform", config.scaling.ray_logs):
            record = (_reported if is_over else _conducted)(plan, record, project)
    except KeyboardInterrupt:
        print(f"stopped; the same command with run.name={plan.name} goes on with what is not finished")
        return 130
    show(record)
    return int(any(trial.status == "failed" for trial in record.trials))


def opening_record(plan: SweepPlan, command: str) -> SweepRecord:
    """What is known of the sweep before anything is started: what its trials' folders and its earlier record hold.

    Trials that are not over and that fewer are asked for than to include are left out.
    """
    earlier = plan.earlier
    known = {trial.number: trial for trial in earlier.trials} if earlier else {}
    over = {number: trial for number, trial in known.items() if trial.status in ("finished", "stopped", "failed")}
    opening = over | {trial.number: _opening(trial, known.get(trial.number)) for trial in plan.trials}
    commands = earlier.commands if earlier else ()
    record = SweepRecord(
        name=plan.name,
        search=plan.config.sweep.search,
        space=plan.config.sweep.space,
        scheduler=plan.config.sweep.scheduler,
        exchanged_at=earlier.exchanged_at if earlier else 0,
        budget=budget_of(plan.config.training),
        trials=tuple(opening[number] for number in sorted(opening)),
        dataset=plan.config.dataset.name,
        corpus_fingerprint=plan.corpus.fingerprint,
        versions=versions(),
        git_commit=git_commit(plan.project),
        retrain=None,
        commands=commands if command in commands[-1:] else (*commands, command),
        mlflow_run_id=earlier.mlflow_run_id if earlier else None,
        browse=earlier.browse if earlier else None,
    )
    return with_retraining(plan, record)


def with_retraining(plan: SweepPlan, record: SweepRecord) -> SweepRecord:
    """`record` with the command that trains its best trial again."""
    words = plan.retraining(record.best.values) if record.best else []
    return record.model_copy(update={"retrain": shlex.join(words) or None})


def _opening(trial: PlannedTrial, known: TrialRecord | None) -> TrialRecord:
    kept = {"lineage", "wall_seconds", "loop_seconds"}
    earlier = known.model_dump(include=kept) if known else {}
    fresh = TrialRecord(number=trial.number, values=trial.point, curriculum=trial.config.curriculum.name, **earlier)
    if trial.folder.is_finished:
        return fresh.with_summary(RunSummary.read(trial.folder.path))
    return known if known and known.status == "stopped" else fresh


def _conducted(plan: SweepPlan, record: SweepRecord, project: Path) -> SweepRecord:
    """Train the trials that wait. Returns the record of what became of them; raises KeyboardInterrupt when it is stopped."""
    from masklab.cluster.tune.runner import SweepRunner

    config = plan.config
    own = config.scaling.model_copy(update={"cpus_per_worker": config.scaling.cpus_per_worker or 1})
    share = share_for(config.model_copy(update={"scaling": own}))
    gpus = (config.sweep.gpus_per_trial or 1.0) if share.gpus else 0.0
    unbegun = {trial.number for trial in record.trials if trial.status == "waiting"}
    waiting = [trial for trial in plan.trials if trial.number in unbegun]
    missing = len(waiting) + max(0, plan.wanted - len(record.trials))
    parallel = min(at_a_time(nodes_of_the_cluster(), share, gpus), config.sweep.parallel or missing, missing)
    with _books(plan, record, project) as (opened, nested):
        conductor = SweepRunner(plan, opened, share, nested, _tags(plan, project), SweepTerminal(plan.wanted, parallel))
        conductor.conduct(waiting, parallel, gpus)
        return _kept(plan, conductor.record, nested)


def _reported(plan: SweepPlan, record: SweepRecord, project: Path) -> SweepRecord:
    """Report a sweep whose driver was killed between its last trial and its report."""
    with _books(plan, record, project) as (opened, nested):
        return _kept(plan, opened, nested)


@contextmanager
def _books(plan: SweepPlan, record: SweepRecord, project: Path) -> Iterator[tuple[SweepRecord, NestedRuns | None]]:
    """Open the sweep's books, here and in MLflow, for this process alone.

    Raises RunError where another command is, or has just been, at work on the sweep, and TrackingError.
    """
    plan.folder.begin(dump(plan.config))
    with alone(plan.folder.path, patience=5.0):
        if earlier_record(plan.folder) != plan.earlier:
            raise RunError(f"sweep '{plan.name}' was still being worked on when this command began; give it again")
        plan.folder.remember(**{REPORTED: False})
        nested = _nested_runs(plan, record, _tags(plan, project))
        if nested:
            record = record.model_copy(update=nested.found_by)
        with ending(nested):
            yield record, nested


def _kept(plan: SweepPlan, record: SweepRecord, nested: NestedRuns | None) -> SweepRecord:
    """Close the books: the record, with the command that trains the best again, and the pictures, here and in MLflow."""
    record = with_retraining(plan, record)
    record.write(plan.folder.path)
    pictures = list(draw(record, plan.folder.figures))
    if nested:
        keep(record, plan.folder.path, pictures, nested.parent)
    plan.folder.remember(**{REPORTED: True})
    return record


def _tags(plan: SweepPlan, project: Path) -> dict[str, str]:
    return run_tags(project, plan.corpus.fingerprint, "") | source_tags(plan.config.transfer)


def at_a_time(nodes: Sequence[dict[str, float]], share: Share, gpus: float) -> int:
    """How many trials the nodes hold: with several workers that take `share` each, or one that takes `gpus` of a GPU, or none."""
    if share.workers > 1 or not gpus:
        return room(nodes, share.cpus, share.gpus) // share.workers
    return sum(min(int(node.get("CPU", 0)) // share.cpus, int(node.get("GPU", 0)) * math.floor(1 / gpus)) for node in nodes)


def _nested_runs(plan: SweepPlan, record: SweepRecord, tags: dict[str, str]) -> NestedRuns | None:
    """The sweep's run in MLflow, made or found again, and what an earlier driver left as going on settled. Raises TrackingError."""
    if not plan.config.tracking.enabled:
        return None
    config = plan.config
    nested = NestedRuns.of(
        plan.store,
        config.tracking.experiment,
        plan.folder,
        params=config.model_dump(mode="json"),
        tags=tags,
        dataset=DatasetInput.of(config.dataset, plan.corpus),
        description=f"### Sweep over {', '.join(config.sweep.space)}",
    )
    nested.settle({RunFolder(plan.folder.path / "trials" / trial.name): trial.status for trial in record.trials})
    return nested
