"""Linear warm-up, then a cosine down to the lowest rate (Loshchilov and Hutter 2017), as in nanoGPT."""

from __future__ import annotations

import math

from masklab.training.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, iteration: int, budget_used: float) -> float:
    """The rate of step number `iteration` (from 0).

    The cosine runs up to `lr_decay_iters`, or over the whole budget in whatever unit it is given when that is not set.
    """
    if iteration < settings.warmup_iters:
        return settings.learning_rate * (iteration + 1) / (settings.warmup_iters + 1)
    if settings.lr_decay_iters is None:
        done = budget_used
    else:
        done = (iteration - settings.warmup_iters) / max(1, settings.lr_decay_iters - settings.warmup_iters)
    lowest = settings.lowest_learning_rate
    return lowest + 0.5 * (1 + math.cos(math.pi * min(1.0, done))) * (settings.learning_rate - lowest)
