"""Rows of a text as a mode gets them: tokens, and the labels of those that have some.

Shapes: B rows, W tokens in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """`tokens` (B, W), short rows filled up with padding; `labels` (B,) of whole rows or (B, W) of their tokens, or None.

    A label is the number of a class, int64, or a number to be predicted, float32; a token that has none is labelled -1.
    """

    tokens: NDArray[Any]
    labels: NDArray[np.int64] | NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, chosen: NDArray[Any] | slice) -> Rows:
        return Rows(self.tokens[chosen], None if self.labels is None else self.labels[chosen])


class RowSource(Protocol):
    """Rows of the training split, as a pure function of the seed and their running numbers."""

    def take(self, seed: int, samples: NDArray[np.int64]) -> Rows:
        """The rows number `samples` (B,) of a run with this `seed`."""
        ...
