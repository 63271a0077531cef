"""One training process of a run, as the loop and the learner need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from masklab.text.labels import Labels
from masklab.text.vocabulary import Vocabulary
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe


@dataclass(frozen=True)
class Worker:
    """The recipe of the run, the symbols of its text, and this process's device and rank."""

    recipe: Recipe
    vocabulary: Vocabulary
    precision: Precision
    labels: Labels | None = None
    ranks: Ranks = field(default_factory=Ranks)
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    """Prepares the loss module for several workers, for instance with DistributedDataParallel."""
