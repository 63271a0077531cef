"""The absorbing-state forward process of masked diffusion (Austin et al. 2021; Sahoo et al. 2024).

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.masking import MaskDraw, Masking
from masklab.corruption.noise_schedule import Linear, Schedule, Times
from masklab.rng import RowStreams, Stream


class Diffusion(Masking):
    """Each sequence has a time t ~ U(0, 1), stratified over the global batch, and masks each position with `1 - alpha_t`."""

    type: Literal["diffusion"] = "diffusion"
    """Which strategy this is."""
    schedule: Schedule = Linear()
    """How the mask probability grows with t: a name, or a mapping of its type and keys."""
    timesteps: int | None = Field(default=None, ge=1)
    """Draw t from 1/N, 2/N, .. 1 for this N; from the whole interval when not given."""

    def times(self, u: Times) -> Times:
        """Times t (B,) in [0, 1] of the uniforms `u` (B,); with N timesteps one of 1/N .. 1."""
        if self.timesteps is None:
            return u
        return np.asarray(np.minimum(np.floor(u * self.timesteps) + 1, self.timesteps) / self.timesteps)

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of a row is `1 - alpha_t`, its ELBO weight `-alpha'_t / (1 - alpha_t)`.

        With N timesteps the weight is `N (alpha_s - alpha_t) / (1 - alpha_t)`, s = t - 1/N (Sahoo et al. 2024, eq. 8).
        """
        t = self.times(streams.stratified(Stream.LEVEL))
        p = self.schedule.value(t)
        return MaskDraw.at(bernoulli(streams.stream(Stream.MASK), p, block_size), p, self._slope(t))

    def _slope(self, t: Times) -> Times:
        """The derivative of `1 - alpha_t`, or its difference quotient over the step that ends at `t`."""
        if self.timesteps is None:
            return self.schedule.derivative(t)
        before = (np.rint(t * self.timesteps) - 1) / self.timesteps
        return self.timesteps * (self.schedule.value(t) - self.schedule.value(before))

    def expected_ratio(self, block_size: int) -> float:
        """The mean of `1 - alpha_t` over t."""
        return float(self.schedule.value(self._grid()).mean())

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        """`1 - alpha_t` at the first and last t."""
        low, high = self.schedule.value(self.times(np.array([0.0, 1.0])))
        return float(low), float(high)

    def _grid(self) -> Times:
        """All the timesteps, or midpoints of a grid fine enough for the integral over t."""
        return (np.arange(4096) + 0.5) / 4096 if self.timesteps is None else np.arange(1, self.timesteps + 1) / self.timesteps

    def describe(self) -> str:
        """E.g. `diffusion, linear`."""
        steps = "" if self.timesteps is None else f", {self.timesteps} steps"
        return f"diffusion, {self.schedule.describe()}{steps}"
