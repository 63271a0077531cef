"""Ancestral sampling: the absorbing-state forward process run backwards.

Shapes: B texts, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import Field

from masklab.corruption.noise_schedule import Linear, Schedule
from masklab.sampling.canvas import Draw
from masklab.sampling.sampler import ReverseProcess, Sampler, masked_shares


class Stochastic(Sampler):
    """From t to s, each masked position is unmasked with probability (alpha_s - alpha_t) / (1 - alpha_t).

    Austin et al. 2021 ("D3PM"), section 3; Sahoo et al. 2024 ("MDLM"), eq. 7. The grid is t = 1, 1 - 1/steps, ..., 0, so that nothing
    stays masked; with the linear schedule the probability is 1 - s/t. Whether a position is unmasked does not depend on the network:
    a text in which nothing is due takes no pass through it.
    """

    strategy: Literal["stochastic"] = "stochastic"
    """Name of the sampler."""
    steps: int = Field(default=64, ge=1)
    """Number of sampling steps."""
    schedule: Schedule = Linear()
    """Noise schedule that sets the masked share after each step."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        shares, canvas = masked_shares(self.schedule, self.steps), process.canvas
        for now, then in pairwise(shares):
            due = canvas.masked & (canvas.uniforms(Draw.ORDER) * now < now - then)
            rows = due.any(axis=1)
            prediction = process.predict(rows, np.full(len(rows), now))
            process.write(prediction, due)
            yield

    def describe(self) -> str:
        return f"stochastic, {self.steps} steps"
