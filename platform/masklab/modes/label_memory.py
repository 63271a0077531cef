"""What a network that predicts labels knows of them beside its weights: buffers that follow from the labels, and are not saved.

Shapes: O classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from masklab.text.labels import Labels

if TYPE_CHECKING:
    from masklab.model.transformer import Transformer

ClassWeights = Literal["none", "balanced"]
SCALE, WEIGHTS = "label_scale", "class_weights"
"""Names of the buffers: mean and deviation of numbers (2,), or what each class counts for (O,), float32."""


def remember_scale(model: Transformer, labels: Labels) -> None:
    import torch

    model.register_buffer(SCALE, torch.tensor([labels.mean, labels.deviation], dtype=torch.float32), persistent=False)


def remember_weights(model: Transformer, labels: Labels, kind: ClassWeights) -> None:
    import torch

    weights = balanced_weights(labels.counts) if kind == "balanced" else np.ones(len(labels.names))
    model.register_buffer(WEIGHTS, torch.from_numpy(weights).float(), persistent=False)


def balanced_weights(counts: Sequence[int]) -> NDArray[np.float64]:
    """R / (O n) for a class with n of R rows: classes count alike, and a row for 1 on average (King, Zeng 2001)."""
    return sum(counts) / (len(counts) * np.maximum(np.array(counts, np.float64), 1))
