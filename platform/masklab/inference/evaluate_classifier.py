"""What `jobs/evaluate.py` does with a model that predicts labels: the figures of its mode on all held-out rows, shown, kept, and logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.corruption.unmasked import Unmasked
from masklab.errors import ConfigError, DataError
from masklab.inference.held_out_text import held_out_text
from masklab.inference.output_folder import numbered_folder
from masklab.inference.progress import RowProgress
from masklab.inference.sample import tell, tell_passed_over
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import write_text
from masklab.io.paths import absolute_path
from masklab.modes.examples import Examples
from masklab.reporting.numbers import title_of, written
from masklab.reporting.plots import confusion_figure, save_figure
from masklab.rng import RowStreams, root_key
from masklab.text.labelled_corpus import LabelledCorpus, LabelledRows, padded
from masklab.text.preparation import corpus_for
from masklab.tracking.metrics import evaluation_section, in_section
from masklab.tracking.run_registration import add
from masklab.training.data.validation_pools import ValidationPool


@dataclass(frozen=True, eq=False)
class LabelScores:
    """`figures` by name over `rows` texts, and the confusion matrix where each text has a class."""

    figures: dict[str, float]
    confusion: NDArray[np.int64] | None
    rows: int

    @classmethod
    def of(cls, trained: TrainedModel, corpus: LabelledCorpus, rows: LabelledRows, batch_size: int) -> LabelScores:
        """Score `trained` on `rows` of `corpus`, in the model's own vocabulary."""
        mode, count = trained.config.mode, len(rows)
        texts = padded(rows, np.arange(count), trained.block_size, trained.vocabulary, corpus.labels.of)
        examples = mode.examples(texts, Unmasked(), RowStreams.of(root_key(0), np.arange(count), count), trained.vocabulary)
        with trained.precision.autocast():
            scores = mode.scores(trained.model, examples, batch_size, trained.precision.device)
        return cls(mode.metrics(scores, examples), mode.confusion(scores, examples), count)


def evaluate_labels(config: EvaluateConfig, home: Path) -> int:
    """Score a model that predicts labels. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    console = Console(highlight=False)
    if config.against:
        raise ConfigError(f"against = {config.against}: models that predict labels are scored one by one; leave it out")
    trained = TrainedModel.open(config.checkpoint, home, config.system)
    tell_passed_over(console, trained)
    corpus = held_out_rows(trained, config, home, partial(tell, console))
    rows = recoded(corpus, trained)
    parent = absolute_path(config.output, "output") if config.output else (trained.run.path if trained.run else Path.cwd()) / "evaluations"
    with numbered_folder(parent.absolute()) as folder:
        console.print(Text(trained.describe(), style="bold"), soft_wrap=True)
        scores = LabelScores.of(trained, corpus, rows, config.evaluation.batch_size)
        for name, figure in scores.figures.items():
            console.print(Text.assemble((f"{title_of(name):<12}", "dim"), written(name, figure)))
        console.print(Text.assemble((f"{'texts':<12}", "dim"), f"{scores.rows:,} held out of {config.dataset.name}"))
        _write(trained, corpus, scores, folder)
        console.print(Text.assemble((f"{'files':<12}", "dim"), str(folder)), soft_wrap=True)
        metrics = in_section(evaluation_section(folder.name, config.dataset.name), scores.figures)
        if problem := add(trained.run, config.tracking, home, trained.iteration, metrics, folder, f"evaluations/{folder.name}"):
            tell(console, problem)
    return 0


def held_out_rows(trained: TrainedModel, config: EvaluateConfig, home: Path, say: partial[None]) -> LabelledCorpus:
    """The corpus of the dataset. Raises DataError when its labels are others than those of `trained`."""
    corpus = corpus_for(config.dataset, home / ".corpora")
    own, labels = trained.labels, corpus.labels
    assert own is not None
    if labels is None or (labels.of, labels.is_number) != (own.of, own.is_number) or not set(labels.names) <= set(own.names):
        strange = sorted(set(labels.names) - set(own.names))[:3] if labels else []
        which = f"the labels {', '.join(map(repr, strange))}" if strange else "no labels such as these"
        raise DataError(f"dataset {config.dataset.name} has {which}, which {trained.name} was not trained on; score it on its own dataset")
    if trained.corpus_fingerprint not in (None, corpus.fingerprint):
        say(f"the rows are not those that {trained.name} was trained with: what is scored here may have been trained on")
    assert isinstance(corpus, LabelledCorpus)
    return corpus


def recoded(corpus: LabelledCorpus, trained: TrainedModel) -> LabelledRows:
    """The held-out rows with the tokens and class numbers of `trained`. Raises DataError for characters that it does not know."""
    rows, own = corpus.validation, trained.labels
    assert own is not None
    known = {character: number for number, character in enumerate(trained.vocabulary.characters)}
    there = np.unique(rows.tokens)
    if unknown := [corpus.vocabulary.characters[i] for i in there if corpus.vocabulary.characters[i] not in known]:
        raise DataError(
            f"{len(unknown)} characters of the dataset are unknown to {trained.name} ({unknown[0]!r}); score it on its own dataset"
        )
    table = np.array([known.get(character, 0) for character in corpus.vocabulary.characters], trained.vocabulary.dtype)
    if own.is_number:
        return LabelledRows(table[rows.tokens], rows.offsets, rows.labels)
    numbers = np.array([*(own.names.index(name) for name in corpus.labels.names), -1], np.int64)
    return LabelledRows(table[rows.tokens], rows.offsets, numbers[rows.labels.astype(np.int64)])


def _write(trained: TrainedModel, corpus: LabelledCorpus, scores: LabelScores, folder: Path) -> None:
    """Write `evaluation.json`, and the confusion matrix where there is one."""
    assert trained.labels is not None
    facts = {
        "checkpoint": str(trained.checkpoint.path),
        "iteration": trained.iteration,
        "corpus_fingerprint": corpus.fingerprint,
        "rows": scores.rows,
        "figures": scores.figures,
        "classes": list(trained.labels.names),
        "confusion": None if scores.confusion is None else scores.confusion.tolist(),
    }
    write_text(folder / "evaluation.json", json.dumps(facts, indent=1, ensure_ascii=False))
    if scores.confusion is not None:
        figure = confusion_figure(scores.confusion, trained.labels.names, f"{trained.name}: classes of the held-out texts")
        save_figure(figure, folder / "confusion.png")


def evaluate_detector(config: EvaluateConfig, home: Path) -> int:
    """Score a detector. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    console = Console(highlight=False)
    if config.against:
        raise ConfigError(f"against = {config.against}: detectors are scored one by one; leave it out")
    trained = TrainedModel.open(config.checkpoint, home, config.system)
    tell_passed_over(console, trained)
    pools = _pools(trained, config, home, partial(tell, console))
    parent = absolute_path(config.output, "output") if config.output else (trained.run.path if trained.run else Path.cwd()) / "evaluations"
    with numbered_folder(parent.absolute()) as folder:
        console.print(Text(trained.describe(), style="bold"), soft_wrap=True)
        with RowProgress(console, "scoring", sum(map(len, pools.values())), [trained.model]):
            figures = _figures(trained, pools, config.evaluation.batch_size)
        console.print(_table(figures), Text(f"{config.evaluation.stage_sequences:,} windows a stage", style="dim"), sep="\n")
        facts = {
            "checkpoint": str(trained.checkpoint.path),
            "iteration": trained.iteration,
            "seed": config.evaluation.seed,
            "windows": config.evaluation.stage_sequences,
            "stages": [{"title": title} | figures[title] for title in pools],
            "overall": figures["all"],
        }
        write_text(folder / "evaluation.json", json.dumps(facts, indent=1, ensure_ascii=False))
        console.print(Text.assemble(("files  ", "dim"), str(folder)), soft_wrap=True)
        metrics = in_section(evaluation_section(folder.name, config.curriculum.name), figures["all"])
        if problem := add(trained.run, config.tracking, home, trained.iteration, metrics, folder, f"evaluations/{folder.name}"):
            tell(console, problem)
    return 0


def _pools(trained: TrainedModel, config: EvaluateConfig, home: Path, say: partial[None]) -> dict[str, ValidationPool]:
    """Windows of the validation split, corrupted by each validation stage under the evaluation's own seed, by what the stage is called.

    Raises DataError when a stage replaces nothing, or a window does not fit the split.
    """
    mode, settings = trained.config.mode, config.evaluation
    corpus = held_out_text(trained, config.dataset, home, say)
    rows = corpus.validation_rows(mode.window(trained.block_size), settings.stage_sequences)
    pools = {}
    for number, stage in enumerate(config.curriculum.pools):
        title = f"{number} {stage.masking.describe()}"
        if stage.masking.type == "none":
            raise ConfigError(f"curriculum = {config.curriculum.name}: validation stage {number} replaces nothing; take another curriculum")
        pools[title] = ValidationPool.made(mode, stage.masking, rows, corpus.vocabulary, settings.seed, number)
        if lack := mode.shortcoming(pools[title]):
            raise DataError(f"validation stage {title} {lack} in {len(rows)} windows; raise its ratio or evaluation.stage_sequences")
    return pools


def _figures(trained: TrainedModel, pools: dict[str, ValidationPool], batch_size: int) -> dict[str, dict[str, float]]:
    """The mode's figures on each pool by its title, and on `all` together."""
    mode, titles = trained.config.mode, list(pools)
    with trained.precision.autocast():
        scores = [mode.scores(trained.model, pools[title], batch_size, trained.precision.device) for title in titles]
    own = {title: mode.metrics(its, pools[title]) for title, its in zip(titles, scores, strict=True)}
    return own | {"all": mode.metrics(np.concatenate(scores), Examples.joined(list(pools.values())))}


def _table(figures: dict[str, dict[str, float]]) -> Table:
    """A column for each stage, and one for all where there are several."""
    shown = list(figures) if len(figures) > 2 else [title for title in figures if title != "all"]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", style="dim")
    for title in shown:
        table.add_column(Text(title), justify="right", overflow="fold")
    for name in figures["all"]:
        table.add_row(title_of(name), *(written(name, figures[title][name]) for title in shown))
    return table
