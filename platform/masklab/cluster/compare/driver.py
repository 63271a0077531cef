"""The driver of a comparison: trains the runs that are missing, as many at a time as the cluster holds, and reports all of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from masklab.cluster.compare.plan import ComparisonPlan, find_comparison, record_of
from masklab.cluster.connection import Share, nodes_of_the_cluster, room
from masklab.cluster.session import RunSession
from masklab.config.home import home_of
from masklab.config.jobs.compare import CompareConfig
from masklab.reporting.comparison.findings import Findings
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.comparison.report import summary_markdown, write_report
from masklab.reporting.comparison.tables import arm_rows, markdown_arms
from masklab.reporting.comparison.terminal import ComparisonTerminal, show_findings
from masklab.tracking.metrics import arm_metric
from masklab.tracking.mlflow_tracker import MlflowTracker

ComparisonSession = RunSession[ComparisonPlan, ComparisonRecord]


def plan_comparison(config: CompareConfig, overrides: Sequence[str], project: Path, started_at: float) -> ComparisonSession:
    """Check everything that needs no cluster. `overrides` are the words of the command that made `config`.

    Raises a UserError for whatever is wrong; writes only the prepared corpus.
    """
    plan = ComparisonPlan.of(config, overrides, project, home_of(project), started_at)
    return RunSession(plan, record_of(plan, shlex.join(["python", "jobs/compare.py", *overrides])))


def train_missing(session: ComparisonSession, share: Share | None) -> None:
    """Train the runs that are not finished; `share` is None if all are. Raises KeyboardInterrupt after Ctrl-C has stopped them."""
    if share is None:
        return
    from masklab.cluster.compare.runner import ComparisonRunner

    plan, record = session.plan, session.record
    waiting = [run for run, known in zip(plan.runs, record.runs, strict=False) if known.status == "waiting"]
    most = room(nodes_of_the_cluster(), share.cpus, share.gpus)
    parallel = min(most, plan.config.compare.parallel or len(waiting), len(waiting))
    ComparisonRunner(session, share, ComparisonTerminal(parallel)).run(waiting, parallel)


def finalise(session: ComparisonSession) -> None:
    """Write and print the report, and send it to the comparison's MLflow run."""
    session.note(session.record)
    folder = session.plan.folder.path
    files = report(folder)
    session.finalise(lambda tracker: _log(session.record, folder, files, tracker))


def report_again(session: ComparisonSession) -> int:
    """Report a finished comparison once more. Returns the exit status."""
    name = session.plan.name
    print(f"comparison '{name}' is finished already; raise compare.seeds to add to it, or give another run.name")
    session.note(session.record)
    report(session.plan.folder.path)
    return session.exit_status


def report_only(reference: str, project: Path) -> int:
    """Report the comparison `reference`, a run's name or a folder, from its records alone. Returns the exit status; raises RunError."""
    report(find_comparison(reference, home_of(project)))
    return 0


def report(folder: Path) -> tuple[Path, ...]:
    """Print the findings of the comparison in `folder`, and write its report. Returns the report's files.

    Raises RunError when there are no records.
    """
    show_findings(Findings.read(folder), Console(highlight=False))
    files = write_report(folder)
    print(f"report: {files[0]}")
    return files


def _log(record: ComparisonRecord, folder: Path, files: Sequence[Path], tracker: MlflowTracker) -> None:
    tracker.log_metrics({arm_metric(row.arm): row.nats for row in arm_rows(record) if row.nats is not None}, len(record.seeds))
    tracker.log_text(markdown_arms(record), "table.md")
    for path in (folder / ComparisonRecord.FILE, folder / "config.yaml", *files):
        tracker.log_artifact(path, str(path.parent.relative_to(folder)).strip("."))
    tracker.describe(summary_markdown(folder))
