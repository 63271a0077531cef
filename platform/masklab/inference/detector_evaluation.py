"""What `jobs/evaluate.py` does with a detector of replaced characters: its figures on fresh examples of each stage, shown, kept, logged.

Shapes: N windows of a stage.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.errors import ConfigError, DataError
from masklab.inference.held_out_text import held_out_text
from masklab.inference.output_folder import numbered_folder
from masklab.inference.progress import RowProgress
from masklab.inference.sample import tell, tell_passed_over
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import write_text
from masklab.io.paths import place_of
from masklab.modes.examples import Examples
from masklab.reporting.mode_figures import title_of, written
from masklab.tracking.run_addition import add
from masklab.training.data.validation_pools import ValidationPool


def evaluate_detector(config: EvaluateConfig, home: Path) -> int:
    """Score a detector. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    console = Console(highlight=False)
    if config.against:
        raise ConfigError(f"against = {config.against}: detectors are scored one by one; leave it out")
    trained = TrainedModel.open(config.checkpoint, home, config.system)
    tell_passed_over(console, trained)
    pools = _pools(trained, config, home, partial(tell, console))
    parent = place_of(config.output, "output") if config.output else (trained.run.path if trained.run else Path.cwd()) / "evaluations"
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
        section = f"evaluation/{folder.name}-{config.curriculum.name}"
        metrics = {f"{section}/{name}": figure for name, figure in figures["all"].items()}
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
    own = {title: mode.figures(its, pools[title]) for title, its in zip(titles, scores, strict=True)}
    return own | {"all": mode.figures(np.concatenate(scores), Examples.joined(list(pools.values())))}


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
