"""An evaluation: every pool scored once by all workers together, sums and counts reduced, then divided.

Shapes: N sequences of a pool.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from masklab.likelihood.exact_count import nelbo
from masklab.likelihood.scoring import SequenceScores, score_sequences
from masklab.model.transformer import Transformer
from masklab.training.events import Evaluation, Nelbo, StageScore
from masklab.training.pool import Pools, ValidationPool
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks


@dataclass(frozen=True)
class Evaluator:
    """Scores the pools of a run. `batch_size` sequences go through the model at a time; it does not change a figure."""

    pools: Pools
    vocabulary_size: int
    batch_size: int
    precision: Precision
    ranks: Ranks
    has_own_pools: bool
    """Whether each training stage has the validation pool of its number."""

    def evaluate(self, model: Transformer, stage: int, final: bool = False) -> Evaluation:
        """Score all pools with the current weights; the large yardstick when `final`."""
        began = time.perf_counter()
        scores = [self._score(model, pool) for pool in self.pools.stages]
        yardstick = nelbo(self._score(model, self.pools.final_nelbo if final else self.pools.nelbo))
        stages = tuple(_stage_score(s) for s in scores)
        count = sum(float(s.count.sum()) for s in scores)
        shown = [self.pools.stages[stage]] if self.has_own_pools else list(self.pools.stages)
        return Evaluation(
            stages=stages,
            nelbo=Nelbo(yardstick.nats, yardstick.stderr, yardstick.nats / math.log(2), len(yardstick_pool(self.pools, final))),
            loss=sum(s.loss for s in stages) / len(stages),
            accuracy=sum(float(s.correct.sum()) for s in scores) / count,
            model_vs_random=self.vocabulary_size * sum(float(s.true_probability_sum.sum()) for s in scores) / count,
            mask_ratio=float(np.mean([p.mask_ratio for p in shown])),
            run_length=float(np.mean([p.run_length for p in shown])),
            seconds=time.perf_counter() - began,
        )

    def _score(self, model: Transformer, pool: ValidationPool) -> SequenceScores:
        """Score each sequence of `pool` on exactly one rank; every rank gets all the figures."""
        first, last = self.ranks.part(len(pool))
        figures = np.zeros((4, len(pool)))
        if last > first:
            part = slice(first, last)
            with self.precision.autocast():
                own = score_sequences(
                    model,
                    pool.inputs[part],
                    pool.targets[part],
                    pool.selected[part],
                    pool.noise_level[part],
                    self.batch_size,
                    torch.device(self.precision.device),
                )
            figures[:, part] = np.stack([own.cross_entropy_sum, own.count, own.correct, own.true_probability_sum])
        return SequenceScores(*self.ranks.total(figures))


def yardstick_pool(pools: Pools, final: bool) -> ValidationPool:
    """The pool behind the NELBO."""
    return pools.final_nelbo if final else pools.nelbo


def _stage_score(scores: SequenceScores) -> StageScore:
    count = float(scores.count.sum())
    return StageScore(
        loss=float(scores.cross_entropy_sum.sum()) / count,
        accuracy=float(scores.correct.sum()) / count,
        true_probability=float(scores.true_probability_sum.sum()) / count,
    )
