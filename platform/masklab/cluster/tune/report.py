"""What a sweep leaves behind when it ends: its table, its pictures, and all of it in its MLflow run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from masklab.cluster.tune.optuna_search import importance_of
from masklab.io.redaction import redact
from masklab.reporting.numbers import fixed
from masklab.reporting.plots import save_plot
from masklab.reporting.sweep.plots import coordinates_plot, history_plot, importance_plot, lineage_plot
from masklab.reporting.sweep.record import SweepRecord
from masklab.reporting.sweep.tables import lineage_lines, markdown_trials, text_table
from masklab.tracking.metrics import BEST_NELBO, TRIAL_NELBO
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_tracker import MlflowTracker


def show(record: SweepRecord) -> None:
    """Print the trials, best first, and how to train the best again."""
    for line in text_table(record):
        print(line)
    for line in (*overhead(record), *lineage_lines(record)):
        print(line)
    if record.retrain:
        print(redact(f"{retraining_words(record)}: {record.retrain}"))


def retraining_words(record: SweepRecord) -> str:
    """What the command does that trains the best again. None repeats a run whose values changed on its way."""
    if record.best and record.best.lineage:
        return "the best changed its values on the way, which no single run repeats; train with its last ones from the start"
    return "train the best again"


def overhead(record: SweepRecord) -> Iterator[str]:
    """One line on what the trials took beside their loops, in seconds, where that is known."""
    seconds = [trial.overhead_seconds for trial in record.ranked if trial.overhead_seconds is not None]
    if seconds:
        yield f"overhead per trial beside its loop: {sum(seconds) / len(seconds):.1f} s on average, {max(seconds):.1f} s at most"


def draw(record: SweepRecord, folder: Path) -> Iterator[Path]:
    """Draw the sweep into `folder`; the pictures' files. None where no trial is finished."""
    if not record.best:
        return
    pictures = {"history": history_plot(record), "coordinates": coordinates_plot(record)}
    if record.scheduler == "pbt":
        pictures["lineage"] = lineage_plot(record)
    elif shares := importance_of(record):
        pictures["importance"] = importance_plot(shares, record.name)
    for name, picture in pictures.items():
        path = folder / f"{name}.png"
        save_plot(picture, path)
        yield path


def keep(record: SweepRecord, folder: Path, pictures: Iterable[Path], parent: RunHandle) -> None:
    """Send what the sweep in `folder` has found, its pictures included, to its MLflow run, and end that."""
    tracker = MlflowTracker(parent, "driver", finish_seconds=300)
    for number, nats, best in history(record):
        tracker.log_metrics({TRIAL_NELBO: nats, BEST_NELBO: best}, number)
    tracker.log_text(markdown_trials(record), "table.md")
    if lines := list(lineage_lines(record)):
        tracker.log_text("\n".join(lines) + "\n", "lineage.txt")
    for path in (folder / SweepRecord.FILE, folder / "config.yaml"):
        tracker.log_artifact(path)
    for path in pictures:
        tracker.log_artifact(path, "figures")
    tracker.describe(description(record))
    tracker.finish("FINISHED")


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
