"""The driver of a sweep: checks every trial, trains those that are missing, and reports which was best.

Which trials are finished is read from their own folders, and which were stopped early from the sweep's record. Nothing depends on
what Ray Tune stores for itself.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from masklab.cluster.connection import Share, nodes_of_the_cluster, room
from masklab.cluster.session import RunSession, continued
from masklab.cluster.tune.optuna_search import importance_of
from masklab.cluster.tune.plan import PlannedTrial, SweepPlan, budget_of
from masklab.config.home import home_of
from masklab.config.jobs.tune import TuneConfig
from masklab.io.redaction import redact
from masklab.reporting.numbers import fixed
from masklab.reporting.plots import save_plot
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.sweep.plots import coordinates_plot, history_plot, importance_plot, lineage_plot
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal, lineage_lines, markdown_trials, text_table
from masklab.tracking.metrics import BEST_NELBO, TRIAL_NELBO
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.provenance import git_commit, versions

SweepSession = RunSession[SweepPlan, SweepRecord]


def plan_sweep(config: TuneConfig, overrides: Sequence[str], project: Path, started_at: float) -> SweepSession:
    """Check everything that needs no cluster. `overrides` are the words of the command that made `config`.

    Raises a UserError for whatever is wrong; writes only the prepared corpus.
    """
    plan = SweepPlan.of(config, overrides, project, home_of(project), started_at)
    return RunSession(plan, opening_record(plan, shlex.join(["python", "jobs/tune.py", *overrides])))


def opening_record(plan: SweepPlan, command: str) -> SweepRecord:
    """The record before anything is started, from the trials' folders and the sweep's earlier record.

    Trials that are not over and that fewer are asked for than to include are left out.
    """
    earlier = plan.earlier
    known = {trial.number: trial for trial in earlier.trials} if earlier else {}
    over = {number: trial for number, trial in known.items() if trial.status in ("finished", "stopped", "failed")}
    opening = over | {trial.number: _opening(trial, known.get(trial.number)) for trial in plan.trials}
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
        **continued(earlier, command),
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


def train_missing(session: SweepSession, share: Share | None) -> None:
    """Train the trials that are not finished; `share` is None if all are. Raises KeyboardInterrupt after Ctrl-C has stopped them."""
    if share is None:
        return
    from masklab.cluster.tune.runner import SweepRunner

    plan, record, settings = session.plan, session.record, session.plan.config.sweep
    gpus = (settings.gpus_per_trial or 1.0) if share.gpus else 0.0
    missing = {trial.number for trial in record.trials if trial.status == "waiting"}
    waiting = [trial for trial in plan.trials if trial.number in missing]
    number = len(waiting) + max(0, plan.wanted - len(record.trials))
    parallel = min(trials_at_a_time(nodes_of_the_cluster(), share, gpus), settings.parallel or number, number)
    SweepRunner(session, share, SweepTerminal(plan.wanted, parallel)).run(waiting, parallel, gpus)


def trials_at_a_time(nodes: Sequence[dict[str, float]], share: Share, gpus: float) -> int:
    """How many trials the nodes hold: with several workers that take `share` each, or one that takes `gpus` of a GPU, or none."""
    if share.workers > 1 or not gpus:
        return room(nodes, share.cpus, share.gpus) // share.workers
    return sum(min(int(node.get("CPU", 0)) // share.cpus, int(node.get("GPU", 0)) * math.floor(1 / gpus)) for node in nodes)


def finalise(session: SweepSession) -> None:
    """Write the record, with the command that retrains the best trial, and the plots; send all of it to the sweep's MLflow run."""
    folder = session.plan.folder
    session.note(with_retraining(session.plan, session.record))
    plots = list(draw(session.record, folder.figures))
    session.finalise(lambda tracker: _log(session.record, folder.path, plots, tracker))


def _log(record: SweepRecord, folder: Path, plots: Iterable[Path], tracker: MlflowTracker) -> None:
    for number, nats, best in history(record):
        tracker.log_metrics({TRIAL_NELBO: nats, BEST_NELBO: best}, number)
    tracker.log_text(markdown_trials(record), "table.md")
    if lines := list(lineage_lines(record)):
        tracker.log_text("\n".join(lines) + "\n", "lineage.txt")
    for path in (folder / SweepRecord.FILE, folder / "config.yaml"):
        tracker.log_artifact(path)
    for path in plots:
        tracker.log_artifact(path, "figures")
    tracker.describe(description(record))


def report_again(session: SweepSession) -> int:
    """Print the table of a finished sweep once more. Returns the exit status."""
    name = session.plan.name
    print(f"sweep '{name}' is finished already; raise sweep.num_trials to add to it, or give another run.name")
    show(session.record)
    return session.exit_status


def show(record: SweepRecord) -> None:
    """Print the trials, best first, and how to train the best again."""
    for line in (*text_table(record), *overhead(record), *lineage_lines(record)):
        print(line)
    if record.retrain:
        print(redact(f"{retraining_words(record)}: {record.retrain}"))


def retraining_words(record: SweepRecord) -> str:
    """The label of the retraining command. No single run repeats a trial whose values changed during training."""
    if record.best and record.best.lineage:
        return "the best changed its values on the way, which no single run repeats; train with its last ones from the start"
    return "train the best again"


def overhead(record: SweepRecord) -> Iterator[str]:
    """One line on the seconds that trials took outside their training loops, where known."""
    seconds = [trial.overhead_seconds for trial in record.ranked if trial.overhead_seconds is not None]
    if seconds:
        yield f"overhead per trial beside its loop: {sum(seconds) / len(seconds):.1f} s on average, {max(seconds):.1f} s at most"


def draw(record: SweepRecord, folder: Path) -> Iterator[Path]:
    """Draw the sweep's plots into `folder`; yields their files, none where no trial is finished."""
    if not record.best:
        return
    plots = {"history": history_plot(record), "coordinates": coordinates_plot(record)}
    if record.scheduler == "pbt":
        plots["lineage"] = lineage_plot(record)
    elif shares := importance_of(record):
        plots["importance"] = importance_plot(shares, record.name)
    for name, plot in plots.items():
        path = folder / f"{name}.png"
        save_plot(plot, path)
        yield path


def history(record: SweepRecord) -> list[tuple[int, float, float]]:
    """The number and the final NELBO of each finished trial, and the best until then, nats per character."""
    rows: list[tuple[int, float, float]] = []
    for trial in sorted(record.ranked, key=lambda trial: trial.number):
        if trial.nelbo_nats is not None:
            rows.append((trial.number, trial.nelbo_nats, min([trial.nelbo_nats, *(row[2] for row in rows[-1:])])))
    return rows


def description(record: SweepRecord) -> str:
    """The description of the sweep's run in MLflow: the best trial, how to train it again, which keys matter, and the table."""
    parts = [f"### Sweep over {', '.join(record.space)}"]
    if best := record.best:
        parts += [f"**Best: trial {best.name}, {fixed(best.nelbo_nats, 4)} ± {fixed(best.nelbo_stderr, 4)} nats per character**"]
        parts += [f"`{best.described()}`", f"{retraining_words(record).capitalize()}:\n\n```sh\n{record.retrain}\n```"]
    parts += [line.capitalize() for line in overhead(record)]
    if lines := list(lineage_lines(record)):
        parts += ["Lineage:\n\n" + "\n".join(f"- {line}" for line in lines)]
    elif record.scheduler != "pbt" and (shares := importance_of(record)):
        parts += ["Share of the variance that a key explains: " + ", ".join(f"{key} {share:.0%}" for key, share in shares.items())]
    return "\n\n".join([*parts, markdown_trials(record)])
