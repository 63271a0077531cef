"""The drivers of `jobs/evaluate.py` for models that predict labels and for detectors: the metrics of the mode on held-out text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.corruption.unmasked import Unmasked
from masklab.errors import ConfigError, DataError
from masklab.inference.held_out_text import held_out_rows, held_out_text
from masklab.inference.job import Job
from masklab.inference.progress import row_progress
from masklab.inference.trained_model import TrainedModel
from masklab.modes.examples import Examples
from masklab.reporting.numbers import title_of, written
from masklab.reporting.plots import confusion_plot, save_plot
from masklab.rng import RowStreams, root_key
from masklab.text.labelled_corpus import LabelledCorpus, LabelledRows, padded
from masklab.tracking.metrics import evaluation_section, in_section
from masklab.training.data.validation_pools import ValidationPool

KIND = "evaluations"
"""The folder of a run that holds the numbered folders."""


def evaluate_labels(config: EvaluateConfig, home: Path) -> int:
    """Score a model that predicts labels. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    if config.against:
        raise ConfigError(f"against = {config.against}: models that predict labels are scored one by one; leave it out")
    job = Job.open(config, home)
    trained = job.trained
    assert trained.labels is not None
    corpus, rows = held_out_rows(job, config.dataset)
    with job.output_folder(KIND, config.output) as folder:
        job.print_title()
        metrics, confusion = _label_scores(trained, corpus, rows, config.evaluation.batch_size)
        for name, value in metrics.items():
            job.print_row(title_of(name), written(name, value), 10)
        job.print_row("texts", f"{len(rows):,} held out of {config.dataset.name}", 10)
        values = {
            "corpus_fingerprint": corpus.fingerprint,
            "rows": len(rows),
            "figures": metrics,
            "classes": list(trained.labels.names),
            "confusion": None if confusion is None else confusion.tolist(),
        }
        job.write_json(folder / "evaluation.json", values)
        if confusion is not None:
            plot = confusion_plot(confusion, trained.labels.names, f"{trained.name}: classes of the held-out texts")
            save_plot(plot, folder / "confusion.png")
        job.print_row("files", str(folder), 10)
        job.add_to_run(folder, KIND, in_section(evaluation_section(folder.name, config.dataset.name), metrics))
    return 0


def _label_scores(
    trained: TrainedModel, corpus: LabelledCorpus, rows: LabelledRows, batch_size: int
) -> tuple[dict[str, float], NDArray[np.int64] | None]:
    """The metrics by name over `rows` of `corpus`, and the confusion matrix where each text has a class."""
    mode, count = trained.config.mode, len(rows)
    texts = padded(rows, np.arange(count), trained.block_size, trained.vocabulary, corpus.labels.of)
    examples = mode.examples(texts, Unmasked(), RowStreams.of(root_key(0), np.arange(count), count), trained.vocabulary)
    with trained.precision.autocast():
        scores = mode.scores(trained.model, examples, batch_size, trained.precision.device)
    return mode.metrics(scores, examples), mode.confusion(scores, examples)


def evaluate_detector(config: EvaluateConfig, home: Path) -> int:
    """Score a detector. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    if config.against:
        raise ConfigError(f"against = {config.against}: detectors are scored one by one; leave it out")
    job, settings = Job.open(config, home), config.evaluation
    pools = _pools(job, config)
    with job.output_folder(KIND, config.output) as folder:
        job.print_title()
        with row_progress(job.console, "scoring", sum(map(len, pools.values())), [job.trained.model]):
            metrics = _metrics(job.trained, pools, settings.batch_size)
        job.console.print(_table(metrics), Text(f"{settings.stage_sequences:,} windows a stage", style="dim"), sep="\n")
        values = {
            "seed": settings.seed,
            "windows": settings.stage_sequences,
            "stages": [{"title": title} | metrics[title] for title in pools],
            "overall": metrics["all"],
        }
        job.write_json(folder / "evaluation.json", values)
        job.print_row("files", str(folder))
        job.add_to_run(folder, KIND, in_section(evaluation_section(folder.name, config.curriculum.name), metrics["all"]))
    return 0


def _pools(job: Job, config: EvaluateConfig) -> dict[str, ValidationPool]:
    """Windows of the validation split, corrupted by each validation stage, by its title. Raises DataError for an unsuitable stage."""
    mode, settings = job.trained.config.mode, config.evaluation
    corpus = held_out_text(job, config.dataset)
    rows = corpus.validation_rows(mode.window(job.trained.block_size), settings.stage_sequences)
    pools = {}
    for number, stage in enumerate(config.curriculum.pools):
        title = f"{number} {stage.masking.describe()}"
        if stage.masking.type == "none":
            raise ConfigError(f"curriculum = {config.curriculum.name}: validation stage {number} replaces nothing; take another curriculum")
        pools[title] = ValidationPool.made(mode, stage.masking, rows, corpus.vocabulary, settings.seed, number)
        if lack := mode.shortcoming(pools[title]):
            raise DataError(f"validation stage {title} {lack} in {len(rows)} windows; raise its ratio or evaluation.stage_sequences")
    return pools


def _metrics(trained: TrainedModel, pools: dict[str, ValidationPool], batch_size: int) -> dict[str, dict[str, float]]:
    """The mode's metrics on each pool by its title, and on `all` together."""
    mode, titles = trained.config.mode, list(pools)
    with trained.precision.autocast():
        scores = [mode.scores(trained.model, pools[title], batch_size, trained.precision.device) for title in titles]
    own = {title: mode.metrics(its, pools[title]) for title, its in zip(titles, scores, strict=True)}
    return own | {"all": mode.metrics(np.concatenate(scores), Examples.joined(list(pools.values())))}


def _table(metrics: dict[str, dict[str, float]]) -> Table:
    shown = list(metrics) if len(metrics) > 2 else [title for title in metrics if title != "all"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", style="dim")
    for title in shown:
        table.add_column(Text(title), justify="right", overflow="fold")
    for name in metrics["all"]:
        table.add_row(title_of(name), *(written(name, metrics[title][name]) for title in shown))
    return table
