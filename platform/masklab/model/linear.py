"""Linear layers whose weights are left for the model to draw.

Shapes: F features, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_DEVIATION = 1e-4
"""A feature that differs less between texts is left small: what it has to say is rounding."""


class Linear(nn.Linear):
    """`nn.Linear` without weights of its own making, which would be drawn from torch's global random state and thrown away."""

    def reset_parameters(self) -> None:
        """Draw nothing: `Transformer` initialises all weights from one seed."""


class StandardisedLinear(Linear):
    """A head that sees each feature with mean 0 and deviation 1, as it was `measured` once before the first step.

    Frozen features have scales of their own, and a head that is trained alone learns little from small ones (He et al. 2022,
    appendix A.1, where a batch normalisation without scale does this). The measures are kept with the weights.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__(features, outputs, bias=True)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """(..., F) -> (..., O)."""
        return super().forward((features - self.get_buffer("mean")) / self.get_buffer("deviation"))

    @property
    def is_measured(self) -> bool:
        """Whether the scale of the features is known."""
        return bool((self.get_buffer("deviation") != 1).any())

    @torch.no_grad()
    def measured(self, mean: Tensor, deviation: Tensor) -> None:
        """Take `mean` and `deviation`, (F,) each, for those of the features."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(deviation.clamp(min=SMALLEST_DEVIATION))
