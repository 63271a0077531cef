"""An evaluation: every pool scored once by all workers together, sums and counts reduced, then divided.

Shapes: N sequences of a pool.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masklab.likelihood.estimate import SequenceValues
from masklab.likelihood.nelbo import nelbo
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import SequenceScores
from masklab.modes.examples import Examples
from masklab.training.data.validation_pools import Pools, ValidationPool
from masklab.training.events import Evaluation, Nelbo, StageScore
from masklab.training.recipe import Worker
from masklab.training.stop import EvaluationStopped, StopRequest


@dataclass(frozen=True)
class Evaluator:
    """Scores the pools of a run on one worker. `request` ends an evaluation between two batches."""

    worker: Worker
    pools: Pools
    request: StopRequest

    @property
    def batch_size(self) -> int:
        """Sequences in one forward pass; it does not change a metric."""
        recipe = self.worker.recipe
        return recipe.validation.batch_size or 4 * recipe.training.batch_size

    def evaluate(self, model: Transformer, stage: int, final: bool = False) -> Evaluation:
        """Score all pools with the current weights, the large NELBO pool if `final`. Raises EvaluationStopped on all ranks at once."""
        began = time.perf_counter()
        mode, pools = self.worker.recipe.mode, self.pools.stages
        scores = [self._scores(model, pool) for pool in pools]
        stages = tuple(_stage_score(mode.metrics(own, pool)) for own, pool in zip(scores, pools, strict=True))
        every, examples = np.concatenate(scores), Examples.joined(pools)
        confusion = mode.confusion(every, examples)
        # a curriculum without validation stages of its own has one pool per training stage
        shown = [pools[stage]] if self.worker.recipe.curriculum.validation_stages is None else list(pools)
        return Evaluation(
            stages=stages,
            nelbo=self._nelbo(model, self.pools.final_nelbo if final else self.pools.nelbo),
            loss=sum(s.loss for s in stages) / len(stages),
            metrics=mode.overall(mode.metrics(every, examples), self.worker.vocabulary.size),
            mask_ratio=float(np.mean([p.mask_ratio for p in shown])),
            run_length=float(np.mean([p.run_length for p in shown])),
            seconds=time.perf_counter() - began,
            confusion=() if confusion is None else tuple(map(tuple, confusion.tolist())),
        )

    def _nelbo(self, model: Transformer, pool: ValidationPool | None) -> Nelbo | None:
        """The negative log-likelihood, or the bound on it; None in a mode that has none."""
        if pool is None:
            return None
        scores, exact = SequenceScores.of(self._scores(model, pool)), self.worker.recipe.mode.causal
        # if all positions are scored, there are no strata of masked ones
        estimate = SequenceValues(scores.cross_entropy_sum / scores.count).estimate if exact else nelbo(scores)
        return Nelbo(estimate.nats, estimate.stderr, estimate.nats / math.log(2), len(pool), exact)

    def _scores(self, model: Transformer, pool: ValidationPool) -> NDArray[np.float64]:
        """The scores (N, K) of all sequences: each rank scores its part, and a sum over all ranks joins the parts."""
        precision, ranks = self.worker.precision, self.worker.ranks
        first, last = ranks.part(len(pool))
        parts: list[NDArray[np.float64]] = []
        with precision.autocast():
            for at in range(first, last, self.batch_size) or [first]:
                if parts and self.request.reason is not None:
                    break
                batch = pool.at(slice(at, min(at + self.batch_size, last)))
                parts.append(self.worker.recipe.mode.scores(model, batch, self.batch_size, precision.device))
        own = np.concatenate(parts)
        whole = np.zeros((len(pool), own.shape[1]))
        whole[first : first + len(own)] = own
        # the ranks meet here anyway, so each learns of the others' requests
        *scores, stops = ranks.total(np.append(whole, float(self.request.reason is not None)))
        if stops:
            raise EvaluationStopped
        return np.reshape(scores, whole.shape)


def _stage_score(metrics: dict[str, float]) -> StageScore:
    return StageScore(metrics["loss"], {name: value for name, value in metrics.items() if name != "loss"})
