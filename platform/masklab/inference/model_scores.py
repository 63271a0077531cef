"""The scores of one model on held-out text: likelihood or bounds on it, loss by mask ratio, and loss on every validation stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from masklab.curriculum.curriculum import Curriculum
from masklab.errors import DataError
from masklab.inference.trained_model import TrainedModel
from masklab.likelihood.autoregressive import autoregressive_nll
from masklab.likelihood.estimate import Estimate, SequenceValues, difference
from masklab.likelihood.mask_ratio_curve import MaskRatioCurve
from masklab.likelihood.nelbo import exact_count_nelbo
from masklab.likelihood.report import Likelihood, likelihood
from masklab.likelihood.settings import EvaluationSettings
from masklab.likelihood.windows import ScoredWindows
from masklab.modes.character_scores import score_sequences
from masklab.modes.token_classifier import TokenClassifier
from masklab.text.corpus import TokenCorpus
from masklab.training.data.validation_pools import ValidationPool

CURVE = ("mask_ratio", "cross_entropy", "cross_entropy_stderr", "accuracy", "accuracy_stderr")
"""The parts of a MaskRatioCurve that are written to files."""


@dataclass(frozen=True)
class StageScores:
    """Means over the masked characters of a stage's pool; the loss in nats."""

    title: str
    loss: float
    accuracy: float
    true_probability: float


@dataclass(frozen=True, eq=False)
class ModelScores:
    """All scores of one model. `bounds` are called as in files and metrics; `nll` is exact, and the only one of its model."""

    bounds: dict[str, SequenceValues]
    curve: MaskRatioCurve | None = None
    stages: tuple[StageScores, ...] = ()

    @classmethod
    def of(
        cls, trained: TrainedModel, corpus: TokenCorpus, curriculum: Curriculum, block_size: int, settings: EvaluationSettings
    ) -> ModelScores:
        """Score `trained`, which fills masks; the same settings give any model the same windows. Raises DataError as `stage_pools`."""
        pools = stage_pools(corpus, curriculum, block_size, settings)
        with trained.precision.autocast():
            titles = [stage.masking.describe() for stage in curriculum.pools]
            stages = tuple(_stage(trained, pool, title, settings.batch_size) for title, pool in zip(titles, pools, strict=True))
            found = likelihood(trained.model, corpus, block_size, settings)
        return cls(_bounds(found), found.curve, stages)

    @classmethod
    def yardstick_of(cls, trained: TrainedModel, corpus: TokenCorpus, block_size: int, settings: EvaluationSettings) -> ModelScores:
        """The one value that any two models can be compared by: the exact likelihood, or the bound by exact count."""
        windows = ScoredWindows.of(corpus, block_size, settings.sequences, settings.context)
        with trained.precision.autocast():
            if trained.is_causal:
                return cls({"nll": autoregressive_nll(trained.model, windows, settings.batch_size)})
            return cls({"nelbo": exact_count_nelbo(trained.model, windows, settings.seed, settings.batch_size)})

    @property
    def is_exact(self) -> bool:
        """Whether this is the likelihood of a language model."""
        return "nll" in self.bounds

    def differences(self, other: ModelScores) -> dict[str, Estimate]:
        """Each bound less that of the `other` model; beside a language model, one's exact likelihood and the other's bound."""
        if self.is_exact == other.is_exact:
            return {name: difference(values, other.bounds[name]) for name, values in self.bounds.items()}
        own, its = ("nll", "nelbo") if self.is_exact else ("nelbo", "nll")
        return {own: difference(self.bounds[own], other.bounds[its])}

    def to_json(self) -> dict[str, Any]:
        return {
            "bounds": {name: estimate_json(values.estimate) for name, values in self.bounds.items()},
            "curve": {name: getattr(self.curve, name).tolist() for name in CURVE} if self.curve else None,
            "stages": [vars(stage) for stage in self.stages],
        }


def _bounds(found: Likelihood) -> dict[str, SequenceValues]:
    orders = found.orders
    known = {"nelbo": found.exact_count, "continuous_time": found.continuous_time}
    return known | ({"orders_together": orders.importance_weighted, "orders_one_by_one": orders.any_order} if orders else {})


def rows_of(curriculum: Curriculum, block_size: int, settings: EvaluationSettings) -> int:
    """How many sequences go through a network that fills masks, to be scored."""
    orders = settings.order_sequences * settings.orders * block_size
    curve = min(settings.curve_levels, block_size) * settings.curve_sequences
    both = settings.sequences + settings.process_sequences
    return both + orders + curve + len(curriculum.pools) * settings.stage_sequences


def stage_pools(corpus: TokenCorpus, curriculum: Curriculum, block_size: int, settings: EvaluationSettings) -> list[ValidationPool]:
    """A pool for each validation stage. Raises DataError when one masks nothing, or the split is shorter than a window."""
    rows = corpus.validation_rows(block_size, settings.stage_sequences)
    pools = []
    for number, stage in enumerate(curriculum.pools):
        pools.append(ValidationPool.made(TokenClassifier(), stage.masking, rows, corpus.vocabulary, settings.seed, number))
        if not pools[-1].selected.any():
            raise DataError(
                f"validation stage {number} ({stage.masking.describe()}) masks nothing in {len(rows)} sequences of {block_size} "
                "characters; raise its mask ratio or evaluation.stage_sequences"
            )
    return pools


def estimate_json(estimate: Estimate) -> dict[str, float]:
    return {
        "nats": estimate.nats,
        "stderr": estimate.stderr,
        "bits": estimate.bits,
        "bits_stderr": estimate.stderr / math.log(2),
        "perplexity": estimate.perplexity,
    }


def _stage(trained: TrainedModel, pool: ValidationPool, title: str, batch_size: int) -> StageScores:
    scores = score_sequences(
        trained.model, pool.inputs, pool.targets, pool.selected, pool.noise_level, batch_size, trained.precision.device
    )
    count = float(scores.count.sum())
    sums = (scores.cross_entropy_sum, scores.correct, scores.true_probability_sum)
    return StageScores(title, *(float(values.sum()) / count for values in sums))
