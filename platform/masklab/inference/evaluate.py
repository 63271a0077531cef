"""The driver of `jobs/evaluate.py`: scores of a trained model, printed, kept in a numbered folder, and added to its run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from masklab.config.checkpoints.find_checkpoint import find_checkpoint
from masklab.config.jobs.evaluate import EvaluateConfig
from masklab.errors import CheckpointError, ConfigError, DataError, naming
from masklab.inference.evaluate_classifier import KIND, evaluate_detector, evaluate_labels
from masklab.inference.held_out_text import held_out_text
from masklab.inference.job import Job
from masklab.inference.model_scores import ModelScores, estimate_json, rows_of, stage_pools
from masklab.inference.progress import SamplerProgress, row_progress
from masklab.inference.tables import COLUMNS, SamplerScores, cells, evaluation_block, sampler_block, samplers_of
from masklab.inference.trained_model import TrainedModel
from masklab.io.atomic_file import write_text
from masklab.likelihood.settings import EvaluationSettings
from masklab.reporting.plots import mask_ratio_plot, save_plot
from masklab.reporting.tables import markdown_table
from masklab.sampling.generation import generate, start_of
from masklab.sampling.settings import SamplingSettings
from masklab.sampling.text_statistics import ReferenceText, real_pieces, text_statistics
from masklab.text.corpus import TokenCorpus
from masklab.text.preparation import text_for
from masklab.tracking.metrics import estimate_metrics, evaluation_section, in_section, sampler_metrics, stage_metrics

LEFT_OUT = (
    "its likelihood is exact; cross-entropy by mask ratio, orders of generation, continuous time and the losses of a curriculum's stages "
    "are of models that fill masks, and are left out"
)


@dataclass(frozen=True)
class Plan:
    """An evaluation that has passed every check: the model, the `other` that it is compared with, and the text for both."""

    config: EvaluateConfig
    job: Job
    other: TrainedModel | None
    corpus: TokenCorpus
    block_size: int
    evaluation: EvaluationSettings
    samplers: tuple[SamplingSettings, ...]

    @classmethod
    def of(cls, config: EvaluateConfig, home: Path) -> Plan:
        """Open everything that is needed. Raises UserError."""
        job = Job.open(config, home, "writes")
        trained = job.trained
        with naming("against"):
            other = TrainedModel.open(config.against, home, config.system, "writes") if config.against else None
        if other:
            job.notice_passed_over(other)
        block_size = trained.block_size
        if other:
            block_size = min(block_size, other.block_size)
            if other.vocabulary != trained.vocabulary:
                raise CheckpointError(f"{other.name} has other characters than {trained.name}, so their scores cannot be compared")
            if other.block_size != trained.block_size:
                job.notice(f"blocks of {block_size} characters are scored, the shorter ones that one of the two was trained on")
        corpus = held_out_text(job, config.dataset)
        models = [trained, other] if other else [trained]
        evaluation = _with_context(config.evaluation, models, job.notice)
        if evaluation.context and len(corpus.validation) < evaluation.context + block_size:
            raise DataError(
                f"evaluation.context = {evaluation.context}: with blocks of {block_size} characters more than the "
                f"{len(corpus.validation):,} of the validation split; give a smaller one"
            )
        if trained.is_causal:
            job.notice(f"{trained.name} is a language model: {LEFT_OUT}")
        else:
            stage_pools(corpus, config.curriculum, block_size, evaluation)
        samplers = _samplers(config, trained.is_causal)
        for settings in samplers:
            start_of(settings, trained.vocabulary, trained.block_size)
        return cls(config, job, other, corpus, block_size, evaluation, samplers)

    @property
    def trained(self) -> TrainedModel:
        return self.job.trained

    @property
    def names(self) -> list[str]:
        """The names of the models, which differ even when they are of one run."""
        if self.other and self.other.name == self.trained.name:
            return [f"{model.name} at {model.iteration:,}" for model in self.models]
        return [model.name for model in self.models]

    @property
    def models(self) -> list[TrainedModel]:
        return [self.trained, self.other] if self.other else [self.trained]


def _with_context(settings: EvaluationSettings, models: Sequence[TrainedModel], notice: Callable[[str], None]) -> EvaluationSettings:
    """With one given character before each block for a language model to predict from. Raises ConfigError for too many of them."""
    for model in models:
        if settings.context >= model.block_size:
            raise ConfigError(
                f"evaluation.context = {settings.context}: {model.name} was trained on blocks of {model.block_size} characters; give fewer"
            )
    causal = [model.name for model in models if model.is_causal]
    if settings.context or not causal:
        return settings
    notice(f"evaluation.context=1: {causal[0]} predicts each character from those before it, so that one is given before each block")
    return settings.model_copy(update={"context": 1})


def _samplers(config: EvaluateConfig, causal: bool) -> tuple[SamplingSettings, ...]:
    """The samplers to be compared. Raises ConfigError for one that does not go with the model."""
    named = bool(config.statistics.samplers)
    try:
        usual = config.sampling if named else config.sampling.suited(causal)
        return tuple(settings.suited(causal) for settings in samplers_of(config.statistics, usual))
    except ConfigError as error:
        if not named:
            raise
        raise ConfigError(str(error).replace("sampling.strategy = ", "statistics.samplers: ", 1)) from error


@dataclass(frozen=True, eq=False)
class Outcome:
    scores: ModelScores
    other: ModelScores | None
    samplers: tuple[SamplerScores, ...]

    def to_json(self) -> dict[str, Any]:
        out = self.scores.to_json() | {"samplers": [row.to_json() for row in self.samplers]}
        if self.other:
            apart = {name: estimate_json(each) for name, each in self.scores.differences(self.other).items()}
            for estimate in apart.values():
                del estimate["perplexity"]  # of a difference there is none
            out |= {"against": self.other.to_json(), "differences": apart}
        return out

    def metrics(self) -> dict[str, float]:
        """Metric name -> value: bounds, differences from the other model, stages and samplers; only what is finite."""
        metrics: dict[str, float] = {}
        for bound, values in self.scores.bounds.items():
            metrics |= estimate_metrics(bound, values.estimate)
        if self.other:
            for bound, estimate in self.scores.differences(self.other).items():
                metrics |= in_section("difference", estimate_metrics(bound, estimate))
            for i, (own, its) in enumerate(zip(self.scores.stages, self.other.stages, strict=False)):
                metrics |= in_section("difference", stage_metrics(i, {"loss": own.loss - its.loss}))
        for i, stage in enumerate(self.scores.stages):
            metrics |= stage_metrics(i, {"loss": stage.loss, "accuracy": stage.accuracy})
        for row in self.samplers:
            metrics |= sampler_metrics(row.name, row.means())
        return {name: value for name, value in metrics.items() if math.isfinite(value)}


def evaluate(config: EvaluateConfig, home: Path) -> int:
    """Score a trained model of any mode. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    mode = find_checkpoint(config.checkpoint, home).config().mode
    if not mode.writes:
        return (evaluate_labels if mode.labels_of else evaluate_detector)(config, home)
    return evaluate_text(config, home)


def evaluate_text(config: EvaluateConfig, home: Path) -> int:
    """Score a model that writes text. Returns the exit status; raises UserError for a user's mistake, before anything is made."""
    plan = Plan.of(config, home)
    job, console = plan.job, plan.job.console
    with job.output_folder(KIND, config.output) as folder:
        job.print_title()
        outcome = Outcome(*_scores(plan), tuple(_sampler_rows(plan)))
        beside = (plan.names[1], outcome.other) if outcome.other else None
        console.print(evaluation_block(outcome.scores, plan.evaluation, beside))
        console.print(Text(""), sampler_block(outcome.samplers), Text(""), sep="\n")
        _write(plan, outcome, folder)
        job.print_row("files", str(folder))
        job.add_to_run(folder, KIND, in_section(evaluation_section(folder.name, config.curriculum.name), outcome.metrics()))
    return 0


def _scores(plan: Plan) -> tuple[ModelScores, ModelScores | None]:
    """The scores of the models on the same windows and masks; beside a language model the other has only the value to compare by."""
    curriculum, settings = plan.config.curriculum, plan.evaluation
    whole = [not plan.trained.is_causal, not any(model.is_causal for model in plan.models)][: len(plan.models)]
    total = sum(rows_of(curriculum, plan.block_size, settings) if each else settings.sequences for each in whole)
    with row_progress(plan.job.console, "scoring", total, [model.model for model in plan.models]):
        scores = [
            ModelScores.of(model, plan.corpus, curriculum, plan.block_size, settings)
            if each
            else ModelScores.yardstick_of(model, plan.corpus, plan.block_size, settings)
            for model, each in zip(plan.models, whole, strict=True)
        ]
    return scores[0], scores[1] if len(scores) > 1 else None


def _sampler_rows(plan: Plan) -> list[SamplerScores]:
    """A row for each sampler, and one for real text as long as theirs."""
    trained = plan.trained
    whole = text_for(plan.config.dataset, plan.job.home / ".corpora")  # its training split, in its own vocabulary
    known = whole.vocabulary.decode(whole.train)
    reference = ReferenceText.of(whole.vocabulary.decode(whole.validation), known)
    rows, lengths = [], []
    progress = SamplerProgress(plan.job.console, len(plan.samplers), trained.vocabulary.mask_id)
    for settings in plan.samplers:
        name = settings.sampler.describe()
        with progress.of(name) as watch, trained.precision.autocast():
            judge = trained.judge(settings, plan.job.home)
            generation = generate(trained.model, trained.vocabulary, trained.block_size, settings, judge, watch)
        statistics = text_statistics(generation.texts(trained.vocabulary), reference)
        rows.append(SamplerScores(name, float(generation.evaluations.mean()), generation.characters_per_second, statistics))
        lengths = [generation.tokens.shape[1]] * len(generation.tokens)
    real = text_statistics(real_pieces(known, lengths, plan.config.sampling.seed), reference)
    return [*rows, SamplerScores("real text", None, None, real)]


def _write(plan: Plan, outcome: Outcome, folder: Path) -> None:
    trained, other = plan.trained, plan.other
    values = {
        "other_checkpoint": str(other.checkpoint.path) if other else None,
        "corpus_fingerprint": plan.corpus.fingerprint,
        "block_size": plan.block_size,
        "context": plan.evaluation.context,
        "config": plan.config.model_dump(mode="json"),
    }
    plan.job.write_json(folder / "evaluation.json", values | outcome.to_json())
    write_text(folder / "samplers.md", markdown_table(COLUMNS, map(cells, outcome.samplers)) + "\n")
    both = [outcome.scores, *([outcome.other] if outcome.other else [])]
    if curves := {name: scores.curve for name, scores in zip(plan.names, both, strict=True) if scores.curve}:
        save_plot(mask_ratio_plot(curves, f"{trained.name}: loss by share of masked characters"), folder / "mask_ratio.png")
