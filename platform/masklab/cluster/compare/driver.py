"""The driver of a comparison: keeps as many runs going as the cluster holds, and the record of what became of each.

Runs share the corpus and the pools, which are put into the object store once, and nothing else: none depends on when another one
runs. The record is rewritten when a run ends; which runs are finished is read from their own folders, so that the same command goes
on where an earlier one was stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console

from masklab.cluster.compare.plan import ComparisonPlan, find_comparison, record_of, resolved
from masklab.cluster.connection import connected, nodes_of_the_cluster, room, share_for
from masklab.config.compose.yaml_io import dump_values
from masklab.config.home import home_of
from masklab.config.jobs.compare import CompareConfig
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.comparison.report import summary_markdown, write_report
from masklab.reporting.comparison.tables import arm_rows, markdown_arms
from masklab.reporting.comparison.terminal import ComparisonTerminal, show_findings
from masklab.tracking.metrics import arm_metric
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.nested_runs import REPORTED, NestedRuns, ending
from masklab.tracking.provenance import DatasetInput, run_tags, source_tags
from masklab.training.folder_lock import alone
from masklab.training.run_folder import RunFolder


def compare(config: CompareConfig, overrides: Sequence[str], project: Path, started_at: float) -> int:
    """Train what is missing of a comparison, and report it. `overrides` are the words of the command that made `config`.

    Returns the exit status: 1 when a run has failed. Raises UserError for a user's mistake.
    """
    home = home_of(project)
    if config.report is not None:
        report(find_comparison(config.report, home))
        return 0
    plan = ComparisonPlan.of(config, overrides, project, home, started_at)
    record = record_of(plan, project, shlex.join(["python", "jobs/compare.py", *overrides]))
    is_over = all(run.status in ("finished", "failed") for run in record.runs)
    if is_over and plan.folder.memory().get(REPORTED, True):
        print(f"comparison '{plan.name}' is finished already; raise compare.seeds to add to it, or give another run.name")
        record.write(plan.folder.path)
        report(plan.folder.path)
    else:
        try:
            with nullcontext() if is_over else connected(project / "platform", config.scaling.ray_logs):
                record = (_reported if is_over else _conducted)(plan, record, project)
        except KeyboardInterrupt:
            print(f"stopped; the same command with run.name={plan.name} goes on with what is not finished")
            return 130
    return int(any(run.status == "failed" for run in record.runs))


def report(folder: Path) -> tuple[Path, ...]:
    """Report the comparison in `folder` from its records: a table and what went wrong here, and the rest in the files that it returns.

    Raises RunError when there are no records.
    """
    show_findings(Findings.read(folder), Console(highlight=False))
    files = write_report(folder)
    print(f"report: {files[0]}")
    return files


def _conducted(plan: ComparisonPlan, record: ComparisonRecord, project: Path) -> ComparisonRecord:
    """Train the runs that wait. Returns the record of what became of them; raises KeyboardInterrupt when it is stopped."""
    from masklab.cluster.compare.runner import ComparisonRunner

    scaling = plan.config.scaling
    own = scaling.model_copy(update={"cpus_per_worker": scaling.cpus_per_worker or 1})
    share = share_for(plan.config.model_copy(update={"scaling": own}))
    waiting = [run for run, known in zip(plan.runs, record.runs, strict=False) if known.status == "waiting"]
    parallel = min(room(nodes_of_the_cluster(), share.cpus, share.gpus), plan.config.compare.parallel or len(waiting), len(waiting))
    with _books(plan, record, project) as (opened, nested):
        conductor = ComparisonRunner(plan, opened, share, nested, _tags(plan, project), ComparisonTerminal(parallel))
        conductor.conduct(waiting, parallel)
        return _kept(plan, conductor.record, nested)


def _reported(plan: ComparisonPlan, record: ComparisonRecord, project: Path) -> ComparisonRecord:
    """Report a comparison whose driver was killed between its last run and its report."""
    with _books(plan, record, project) as (opened, nested):
        opened.write(plan.folder.path)
        return _kept(plan, opened, nested)


@contextmanager
def _books(plan: ComparisonPlan, record: ComparisonRecord, project: Path) -> Iterator[tuple[ComparisonRecord, NestedRuns | None]]:
    """Open the comparison's books, here and in MLflow, for this process alone.

    Raises RunError where another command is at work on the comparison, and TrackingError.
    """
    plan.folder.begin(dump_values(resolved(plan.config, plan.arms)))
    with alone(plan.folder.path, patience=5.0):
        plan.folder.remember(**{REPORTED: False})
        nested = _nested_runs(plan, record, _tags(plan, project))
        if nested:
            record = record.model_copy(update=nested.found_by)
        with ending(nested):
            yield record, nested


def _kept(plan: ComparisonPlan, record: ComparisonRecord, nested: NestedRuns | None) -> ComparisonRecord:
    """Close the books: the report, here and in MLflow."""
    files = report(plan.folder.path)
    if nested:
        _keep(plan, record, files, nested.parent)
    plan.folder.remember(**{REPORTED: True})
    return record


def _tags(plan: ComparisonPlan, project: Path) -> dict[str, str]:
    return run_tags(project, plan.corpus.fingerprint, "") | source_tags(plan.config.transfer) | {"pools_digest": plan.pools.digest}


def _nested_runs(plan: ComparisonPlan, record: ComparisonRecord, tags: dict[str, str]) -> NestedRuns | None:
    """The comparison's run in MLflow, made or found again, and what an earlier driver left as going on settled. Raises TrackingError."""
    if not plan.config.tracking.enabled:
        return None
    config = plan.config
    nested = NestedRuns.of(
        plan.store,
        config.tracking.experiment,
        plan.folder,
        params=config.model_dump(mode="json", exclude={"report"}),
        tags=tags,
        dataset=DatasetInput.of(config.dataset, plan.corpus),
        description=f"### Comparison of {', '.join(config.compare.curricula)}",
    )
    nested.settle({RunFolder(plan.folder.path / run.folder): run.status for run in record.runs})
    return nested


def _keep(plan: ComparisonPlan, record: ComparisonRecord, files: Sequence[Path], parent: RunHandle) -> None:
    """Send what the comparison has found, and the `files` of its report, to its MLflow run, and end that."""
    tracker = MlflowTracker(parent, "driver", finish_seconds=300)
    tracker.log_metrics({arm_metric(row.arm): row.nats for row in arm_rows(record) if row.nats is not None}, len(record.seeds))
    tracker.log_text(markdown_arms(record), "table.md")
    for path in (plan.folder.path / ComparisonRecord.FILE, plan.folder.path / "config.yaml", *files):
        tracker.log_artifact(path, str(path.parent.relative_to(plan.folder.path)).strip("."))
    tracker.describe(summary_markdown(plan.folder.path))
    tracker.finish("FINISHED")
