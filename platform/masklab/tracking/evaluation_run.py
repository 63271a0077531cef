"""The driver of `jobs/evaluate.py`: the figures of a trained model, shown, kept, and added to its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from masklab.config.evaluate_tree import EvaluateConfig
from masklab.config.trained_model import TrainedModel
from masklab.errors import CheckpointError, ConfigError, DataError, UserError
from masklab.likelihood.estimate import difference
from masklab.likelihood.mask_ratio_curve import MaskRatioCurve
from masklab.sampling.generation import generate, start_of
from masklab.sampling.text_statistics import ReferenceText, real_pieces, text_statistics
from masklab.text.atomic_file import write_text
from masklab.text.corpus import TokenCorpus
from masklab.text.preparation import text_for
from masklab.tracking.evaluation_block import evaluation_block, sampler_block
from masklab.tracking.evaluation_metrics import evaluation_metrics
from masklab.tracking.figures import save_figure
from masklab.tracking.held_out_text import held_out_text
from masklab.tracking.mask_ratio_figure import mask_ratio_figure
from masklab.tracking.model_scores import ModelScores, estimate_json, rows_of, stage_pools
from masklab.tracking.numbered_folder import numbered_folder
from masklab.tracking.row_progress import RowProgress
from masklab.tracking.run_addition import add
from masklab.tracking.sampler_progress import SamplerProgress
from masklab.tracking.sampler_table import SamplerFigures, lengths_of, markdown, samplers_of
from masklab.tracking.sampling_run import judge_of, tell, tell_passed_over


@dataclass(frozen=True)
class Plan:
    """An evaluation that has passed every check: a model, what it is compared with, and the text for both."""

    config: EvaluateConfig
    home: Path
    trained: TrainedModel
    other: TrainedModel | None
    corpus: TokenCorpus
    block_size: int

    @classmethod
    def of(cls, config: EvaluateConfig, home: Path, console: Console) -> Plan:
        """Open everything that is needed. Raises a UserError for whatever is wrong."""
        say = partial(tell, console)
        trained = TrainedModel.open(config.checkpoint, home, config.system)
        other = _other(config, home)
        for model in (trained, other):
            if model:
                tell_passed_over(console, model)
        block_size = trained.block_size
        if other:
            block_size = min(block_size, other.block_size)
            if other.vocabulary != trained.vocabulary:
                raise CheckpointError(f"{other.name} has other characters than {trained.name}, so their figures cannot be compared")
            if other.block_size != trained.block_size:
                say(f"blocks of {block_size} characters are scored, the shorter ones that one of the two was trained on")
        corpus = held_out_text(trained, config.dataset, home, say)
        _refuse_context(config.evaluation.context, [model for model in (trained, other) if model])
        if config.evaluation.context and len(corpus.validation) < config.evaluation.context + block_size:
            raise DataError(
                f"evaluation.context = {config.evaluation.context}: with blocks of {block_size} characters more than the "
                f"{len(corpus.validation):,} of the validation split; give a smaller one"
            )
        stage_pools(corpus, config.curriculum, block_size, config.evaluation)
        for settings in samplers_of(config.statistics, config.sampling):
            start_of(settings, trained.vocabulary, trained.block_size)
        return cls(config, home, trained, other, corpus, block_size)

    @property
    def names(self) -> list[str]:
        """What the models are called, apart even when they are of one run."""
        if self.other and self.other.name == self.trained.name:
            return [f"{model.name} at {model.iteration:,}" for model in self.models]
        return [model.name for model in self.models]

    @property
    def models(self) -> list[TrainedModel]:
        """The model, and the other one if there is one."""
        return [self.trained, self.other] if self.other else [self.trained]


def _refuse_context(context: int, models: Sequence[TrainedModel]) -> None:
    """Raise ConfigError for more given characters than a model has ever seen at once."""
    for model in models:
        if context >= model.block_size:
            raise ConfigError(
                f"evaluation.context = {context}: {model.name} was trained on blocks of {model.block_size} characters; give fewer"
            )


def _other(config: EvaluateConfig, home: Path) -> TrainedModel | None:
    """The model that `against` names; what is wrong with it is told of that key."""
    try:
        return TrainedModel.open(config.against, home, config.system) if config.against else None
    except UserError as error:
        raise type(error)(f"against: {str(error).removeprefix('checkpoint = ')}") from error


@dataclass(frozen=True, eq=False)
class Outcome:
    """All that an evaluation finds."""

    scores: ModelScores
    other: ModelScores | None
    samplers: tuple[SamplerFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out = self.scores.to_json() | {"samplers": [row.to_json() for row in self.samplers]}
        if self.other:
            bounds = self.other.bounds()
            apart = {name: estimate_json(difference(values, bounds[name])) for name, values in self.scores.bounds().items()}
            for figures in apart.values():
                del figures["perplexity"]  # of a difference there is none
            out |= {"against": self.other.to_json(), "differences": apart}
        return out

    def curves(self, names: list[str]) -> dict[str, MaskRatioCurve]:
        """The curves that were measured, by the names of the models."""
        both = [self.scores, *([self.other] if self.other else [])]
        return {name: scores.likelihood.curve for name, scores in zip(names, both, strict=True) if scores.likelihood.curve}


def evaluate(config: EvaluateConfig, home: Path) -> int:
    """Score a trained model as `config` says. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    console = Console(highlight=False)
    plan = Plan.of(config, home, console)
    trained = plan.trained
    parent = Path(config.output).expanduser() if config.output else (trained.run.path if trained.run else Path.cwd()) / "evaluations"
    with numbered_folder(parent.absolute()) as folder:
        console.print(Text(trained.describe(), style="bold"), soft_wrap=True)
        outcome = Outcome(*_scores(plan, console), tuple(_sampler_rows(plan, console)))
        beside = (plan.names[1], outcome.other) if outcome.other else None
        console.print(evaluation_block(outcome.scores, config.evaluation, beside))
        console.print(Text(""), sampler_block(outcome.samplers), Text(""), sep="\n")
        _write(plan, outcome, folder)
        console.print(Text.assemble(("files  ", "dim"), str(folder)), soft_wrap=True)
        place = f"evaluations/{folder.name}"
        metrics = evaluation_metrics(folder.name, config.curriculum.name, outcome.scores, outcome.other, outcome.samplers)
        if problem := add(trained.run, config.tracking, home, trained.iteration, metrics, folder, place):
            tell(console, problem)
    return 0


def _scores(plan: Plan, console: Console) -> tuple[ModelScores, ModelScores | None]:
    """The figures of the model, and of the other one if there is one, on the same windows and masks."""
    config = plan.config
    total = rows_of(config.curriculum, plan.block_size, config.evaluation) * len(plan.models)
    with RowProgress(console, "scoring", total, [model.model for model in plan.models]):
        scores = [ModelScores.of(model, plan.corpus, config.curriculum, plan.block_size, config.evaluation) for model in plan.models]
    return scores[0], scores[1] if len(scores) > 1 else None


def _sampler_rows(plan: Plan, console: Console) -> list[SamplerFigures]:
    """A row for each sampler, and one for real text as long as theirs."""
    trained = plan.trained
    whole = text_for(plan.config.dataset, plan.home / ".corpora")  # its training split, in its own vocabulary
    known = whole.vocabulary.decode(whole.train)
    reference = ReferenceText.of(whole.vocabulary.decode(whole.validation), known)
    rows, lengths = [], []
    wanted = list(samplers_of(plan.config.statistics, plan.config.sampling))
    progress = SamplerProgress(console, len(wanted), trained.vocabulary.mask_id)
    for settings in wanted:
        name = settings.sampler.describe()
        with progress.of(name) as watch, trained.precision.autocast():
            judge = judge_of(settings, trained, plan.home)
            generation = generate(trained.model, trained.vocabulary, trained.block_size, settings, judge, watch)
        rows.append(SamplerFigures.of(name, generation, trained.vocabulary, reference))
        lengths = lengths_of(generation)
    real = text_statistics(real_pieces(known, lengths, plan.config.sampling.seed), reference)
    return [*rows, SamplerFigures("real text", None, None, real)]


def _write(plan: Plan, outcome: Outcome, folder: Path) -> None:
    """Write `evaluation.json`, the samplers' table, and the figure of the curve."""
    trained, other = plan.trained, plan.other
    facts = {
        "checkpoint": str(trained.checkpoint.path),
        "iteration": trained.iteration,
        "other_checkpoint": str(other.checkpoint.path) if other else None,
        "corpus_fingerprint": plan.corpus.fingerprint,
        "block_size": plan.block_size,
        "config": plan.config.model_dump(mode="json"),
    }
    write_text(folder / "evaluation.json", json.dumps(facts | outcome.to_json(), indent=1, ensure_ascii=False))
    write_text(folder / "samplers.md", markdown(outcome.samplers) + "\n")
    known = outcome.curves(plan.names)
    if known:
        save_figure(mask_ratio_figure(known, f"{trained.name}: loss by share of masked characters"), folder / "mask_ratio.png")
