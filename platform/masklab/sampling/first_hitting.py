"""Ancestral sampling without a grid: each character at its own time.

Shapes: B texts, T positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from masklab.sampling.canvas import Draw
from masklab.sampling.sampler import ReverseProcess, Sampler


class FirstHitting(Sampler):
    """One character at a time, in the order of the times at which the reverse process first reaches each position.

    In continuous time a position is unmasked once `1 - alpha_t` falls below a uniform number of its own, so the positions come in the
    order of these numbers, and the number is the noise level at that moment (Zheng et al. 2024, "Masked diffusion models are secretly
    time-agnostic masked models", proposition 4.1, which draws their order statistics one after another). No schedule is left in
    it, and no discretisation error; it takes a pass through the network for each character.
    """

    strategy: Literal["first_hitting"] = "first_hitting"
    """Name of the sampler."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas = process.canvas
        hitting = canvas.uniforms(Draw.ORDER)
        while (masked := canvas.masked).any():
            level = np.where(masked, hitting, -1.0)
            first = np.zeros_like(masked)
            first[np.arange(len(first)), level.argmax(axis=1)] = True
            first = first & masked
            rows = first.sum(axis=1) > 0
            process.write(process.predict(rows, np.maximum(level.max(axis=1), 0.0)), first)
            yield

    def describe(self) -> str:
        return "first hitting"
