"""A linear layer whose weights are left for the model to draw."""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """`nn.Linear` without weights of its own making, which would be drawn from torch's global random state and thrown away."""

    def reset_parameters(self) -> None:
        """Draw nothing: `Transformer` initialises all weights from one seed."""
