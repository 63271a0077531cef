"""An evaluation: every pool scored once by all workers together, sums and counts reduced, then divided.

Shapes: N sequences of a pool.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from masklab.likelihood.estimate import SequenceValues
from masklab.likelihood.nelbo import nelbo
from masklab.model.transformer import Transformer
from masklab.modes.character_scores import SequenceScores
from masklab.modes.examples import Examples
from masklab.modes.mode import Mode
from masklab.training.data.validation_pools import Pools, ValidationPool
from masklab.training.events import Evaluation, Nelbo, StageScore
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.stop import EvaluationStopped, StopRequest


@dataclass(frozen=True)
class Evaluator:
    """Scores the pools of a run. `batch_size` sequences go through the model at a time; it does not change a figure."""

    mode: Mode
    pools: Pools
    vocabulary_size: int
    batch_size: int
    precision: Precision
    ranks: Ranks
    has_own_pools: bool
    """Whether each training stage has the validation pool of its number."""
    request: StopRequest = field(default_factory=StopRequest)
    """Ends an evaluation between two batches."""

    def evaluate(self, model: Transformer, stage: int, final: bool = False) -> Evaluation:
        """Score all pools with the current weights; the large yardstick when `final`. Raises EvaluationStopped on all ranks at once."""
        began = time.perf_counter()
        pools = self.pools.stages
        scores = [self._scores(model, pool) for pool in pools]
        stages = tuple(_stage_score(self.mode.metrics(own, pool)) for own, pool in zip(scores, pools, strict=True))
        every, examples = np.concatenate(scores), Examples.joined(pools)
        confusion = self.mode.confusion(every, examples)
        shown = [pools[stage]] if self.has_own_pools else list(pools)
        return Evaluation(
            stages=stages,
            nelbo=self._yardstick(model, self.pools.final_nelbo if final else self.pools.nelbo),
            loss=sum(s.loss for s in stages) / len(stages),
            figures=self.mode.overall(self.mode.metrics(every, examples), self.vocabulary_size),
            mask_ratio=float(np.mean([p.mask_ratio for p in shown])),
            run_length=float(np.mean([p.run_length for p in shown])),
            seconds=time.perf_counter() - began,
            confusion=() if confusion is None else tuple(map(tuple, confusion.tolist())),
        )

    def _yardstick(self, model: Transformer, pool: ValidationPool | None) -> Nelbo | None:
        """The likelihood, or the bound on it; None in a mode that has none."""
        if pool is None:
            return None
        scores, exact = SequenceScores.of(self._scores(model, pool)), self.mode.causal
        # where all positions count, there are no strata of masked ones
        estimate = SequenceValues(scores.cross_entropy_sum / scores.count).estimate if exact else nelbo(scores)
        return Nelbo(estimate.nats, estimate.stderr, estimate.nats / math.log(2), len(pool), exact)

    def _scores(self, model: Transformer, pool: ValidationPool) -> NDArray[np.float64]:
        """The scores (N, K) of all sequences: each rank scores its part, and all ranks add up what they have."""
        first, last = self.ranks.part(len(pool))
        parts: list[NDArray[np.float64]] = []
        with self.precision.autocast():
            for at in range(first, last, self.batch_size) or [first]:
                if parts and self.request.reason is not None:
                    break
                batch = pool.at(slice(at, min(at + self.batch_size, last)))
                parts.append(self.mode.scores(model, batch, self.batch_size, torch.device(self.precision.device)))
        own = np.concatenate(parts)
        whole = np.zeros((len(pool), own.shape[1]))
        whole[first : first + len(own)] = own
        # the ranks meet here anyway, and so learn of each other's requests
        *scores, stops = self.ranks.total(np.append(whole, float(self.request.reason is not None)))
        if stops:
            raise EvaluationStopped
        return np.reshape(scores, whole.shape)


def _stage_score(figures: dict[str, float]) -> StageScore:
    return StageScore(figures["loss"], {name: figure for name, figure in figures.items() if name != "loss"})
