"""What a network is trained and scored on, whatever the mode.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masklab.corruption.masking import MaskDraw


@dataclass(frozen=True)
class Examples:
    """`inputs` (B, T) tokens; `targets` (B, T), what is to be predicted at the `selected` (B, T) positions and nothing elsewhere.

    `noise_level` (B,) float32 is the share of positions that the corruption aimed at, `elbo_weight` (B,) float32 what a selected
    position counts for in the ELBO (see MaskDraw).
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    selected: NDArray[np.bool_]
    noise_level: NDArray[np.float32]
    elbo_weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def draw(self) -> MaskDraw:
        """What the objective weighs: the counted positions, and how likely they were."""
        return MaskDraw(self.selected, self.noise_level, self.elbo_weight)

    def at(self, rows: slice | NDArray[Any]) -> Examples:
        return Examples(self.inputs[rows], self.targets[rows], self.selected[rows], self.noise_level[rows], self.elbo_weight[rows])

    @classmethod
    def joined(cls, parts: Sequence[Examples]) -> Examples:
        return Examples(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Examples)))

    @classmethod
    def of(cls, examples: Examples) -> Self:
        return cls(*(getattr(examples, field.name) for field in fields(Examples)))


def all_selected(inputs: NDArray[Any], targets: NDArray[Any], noise_level: NDArray[np.float32] | None = None) -> Examples:
    """Examples (B, T) of which every position counts, and counts for 1."""
    one = np.ones(len(inputs), np.float32)
    return Examples(inputs, targets, np.ones(inputs.shape, bool), np.zeros_like(one) if noise_level is None else noise_level, one)
