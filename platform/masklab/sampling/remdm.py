"""Ancestral sampling that can mask what it wrote again, at no cost to the marginals.

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


class ReMDM(Sampler):
    """From t to s a written position is masked again with probability sigma; a masked one is written with what restores the balance.

    Wang et al. 2025 ("Remasking discrete diffusion models with inference-time scaling"), eq. 6-8 and section 4.1: a masked position
    is written with probability (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t), so that a position is masked at s with probability
    1 - alpha_s whatever sigma is, and a network trained without remasking does. sigma is at most min(1, (1 - alpha_s) / alpha_t), and
    so 0 in the last step. With eta = 0 this is `stochastic`, text for text. Only a text in which something is to be written takes a
    pass through the network.
    """

    strategy: Literal["remdm"] = "remdm"
    """Name of the sampler."""
    steps: int = Field(default=64, ge=1)
    """Number of sampling steps."""
    schedule: Schedule = Linear()
    """Noise schedule that sets the masked share after each step."""
    remdm_schedule: Literal["cap", "rescale"] = "cap"
    """Probability of remasking: min(eta, sigma_max) (cap) or eta * sigma_max (rescale), where sigma_max is the largest possible one."""
    eta: float = Field(default=0.02, ge=0, le=1)
    """Strength of remasking per step; 0 remasks nothing. If you double the steps, halve eta to remask about as much in total."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas = process.canvas
        for now, then in pairwise(masked_shares(self.schedule, self.steps)):
            sigma = self.sigma(now, then)
            masked = canvas.masked
            due = masked & (canvas.uniforms(Draw.ORDER) * now < now - then + sigma * (1 - now))
            again = ~masked & ~canvas.given & (canvas.uniforms(Draw.REMASK) < sigma)
            rows = due.any(axis=1)
            process.write(process.predict(rows, np.full(len(rows), now)), due)
            canvas.erase(again)
            yield

    def sigma(self, now: float, then: float) -> float:
        """Probability that a written position is masked again, where 1 - alpha goes from `now` to `then`."""
        # where alpha_t = 0 nothing is written, and any sigma will do
        largest = min(1.0, then / (1 - now)) if now < 1 else 1.0
        return min(self.eta, largest) if self.remdm_schedule == "cap" else self.eta * largest

    def describe(self) -> str:
        return f"remdm {self.remdm_schedule} {self.eta:g}, {self.steps} steps"
