"""Random order at a fixed rate: ancestral sampling with the number of characters of each step made certain.

Shapes: B texts, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from masklab.sampling.canvas import Draw
from masklab.sampling.sampler import ReverseProcess, Sampler, lowest


class FixedRate(Sampler):
    """At step t = steps - 1, ..., 0, max(1, masked // (t + 1)) of the masked positions, chosen uniformly at random, are written.

    With the linear schedule ancestral sampling unmasks each position with probability 1 / (t + 1) here (Austin et al. 2021, "D3PM",
    section 3), masked / (t + 1) of them on average; this takes that number itself, rounded down. The order does not depend on the
    network. A text with fewer masked positions than steps is written one character a step, and done early.
    """

    strategy: Literal["fixed_rate"] = "fixed_rate"
    """Name of the sampler."""
    steps: int = Field(default=100, ge=1)
    """Number of sampling steps."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas = process.canvas
        for steps_left in range(self.steps, 0, -1):
            masked = canvas.masked
            masked_B = masked.sum(axis=1)
            if not masked_B.any():
                return
            count_B = np.minimum(np.maximum(masked_B // steps_left, 1), masked_B)
            chosen = lowest(np.where(masked, canvas.uniforms(Draw.ORDER), np.inf), count_B)
            process.write(process.predict(masked_B > 0), chosen)
            yield

    def describe(self) -> str:
        return f"fixed rate, {self.steps} steps"
