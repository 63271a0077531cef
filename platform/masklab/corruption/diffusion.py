"""The absorbing-state forward process of masked diffusion (Austin et al. 2021; Sahoo et al. 2024).

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import betainc, betaincinv, betaln, xlog1py, xlogy

from masklab.corruption.bernoulli import bernoulli
from masklab.corruption.masking import MaskDraw, Masking
from masklab.corruption.noise_schedule import Linear, Schedule, Times
from masklab.rng import RowStreams, Stream

Shape = Annotated[float, Field(ge=0.05, le=1000)]
"""A parameter of a Beta, within what floats resolve near 0 and 1."""
TAIL = 1e-3
"""Share of a Beta's times at either end that does not count as trained."""
FINE_GRID = 4096
"""Points at which an integral over t is taken."""


class Diffusion(Masking):
    """Each sequence has a time t ~ U(0, 1), or Beta, stratified over the global batch, and masks each position with `1 - alpha_t`."""

    type: Literal["diffusion"] = "diffusion"
    """Name of the masking strategy."""
    schedule: Schedule = Linear()
    """Noise schedule, by which the mask probability grows with t: a name, or a mapping of its type and keys."""
    timesteps: int | None = Field(default=None, ge=1)
    """Draw t from the grid 1/N, 2/N, ..., 1 with this N. If null, from the whole interval."""
    beta: tuple[Shape, Shape] | None = None
    """Draw t from Beta(a, b), which is bell-shaped if both are above 1. If null, uniformly."""
    restore_elbo: bool = True
    """With beta: divide the ELBO weight by the density of t, so that the weighted loss is still the ELBO. false keeps the weight."""

    @model_validator(mode="after")
    def _restores_something(self) -> Self:
        if self.beta is None and not self.restore_elbo:
            raise ValueError("restore_elbo=false goes with beta: evenly drawn times leave nothing to restore")
        return self

    def times(self, u: Times) -> Times:
        """Times t (B,) in [0, 1] of the uniforms `u` (B,), by the inverse distribution function; with N timesteps one of 1/N .. 1."""
        t = u if self.beta is None else betaincinv(*self.beta, u)
        if self.timesteps is None:
            return t
        return np.asarray(np.minimum(np.floor(t * self.timesteps) + 1, self.timesteps) / self.timesteps)

    def density(self, t: Times) -> Times:
        """The density of `times` at `t` (B,); with N timesteps N times the probability of the one at `t`."""
        if self.beta is None:
            return np.ones_like(t)
        if self.timesteps is not None:
            return np.asarray(self.timesteps * (betainc(*self.beta, t) - betainc(*self.beta, self._step_before(t))))
        a, b = self.beta
        return np.asarray(np.exp(xlogy(a - 1, t) + xlog1py(b - 1, -t) - betaln(a, b)))

    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions; the probability of a row is `1 - alpha_t`, its ELBO weight `-dalpha_t / (1 - alpha_t)`.

        With N timesteps the weight is `N (alpha_s - alpha_t) / (1 - alpha_t)`, s = t - 1/N (Sahoo et al. 2024, eq. 8). Either is
        divided by the density of t: importance sampling of the ELBO's integral over t. With the linear schedule its variance is finite
        where both parameters of the Beta are below 2.
        """
        t = self.times(streams.stratified(Stream.LEVEL))
        p, rate = self.schedule.value(t), self.rate(t)
        if self.restore_elbo:
            density = self.density(t)
            # only rounding puts t where the density is 0 or infinite
            usable = (density > 0) & (p > 0) & np.isfinite(density) & np.isfinite(rate)
            rate = np.divide(rate, density, out=np.zeros_like(p), where=usable)
        return MaskDraw.at(bernoulli(streams.stream(Stream.MASK), p, block_size), p, rate)

    def rate(self, t: Times) -> Times:
        """`-dalpha_t`, the derivative of `1 - alpha_t` at `t` (B,); with N timesteps the difference quotient over the step to t."""
        if self.timesteps is None:
            return self.schedule.derivative(t)
        return self.timesteps * (self.schedule.value(t) - self.schedule.value(self._step_before(t)))

    def _step_before(self, t: Times) -> Times:
        assert self.timesteps is not None
        return np.asarray((np.rint(t * self.timesteps) - 1) / self.timesteps)

    def expected_ratio(self, block_size: int) -> float:
        if self.timesteps is None or self.timesteps > FINE_GRID:
            midpoints = (np.arange(FINE_GRID) + 0.5) / FINE_GRID
            return float(self.schedule.value(self.times(midpoints)).mean())
        steps = np.arange(1, self.timesteps + 1) / self.timesteps
        return float((self.schedule.value(steps) * self.density(steps)).mean())

    def ratio_range(self, block_size: int) -> tuple[float, float]:
        ends = np.array([0.0, 1.0] if self.beta is None else [TAIL, 1 - TAIL])
        low, high = self.schedule.value(self.times(ends))
        return float(low), float(high)

    def describe(self) -> str:
        times = "" if self.beta is None else f", Beta({self.beta[0]:g}, {self.beta[1]:g})"
        plain = "" if self.restore_elbo else " unrestored"
        steps = "" if self.timesteps is None else f", {self.timesteps} steps"
        return f"diffusion, {self.schedule.describe()}{times}{plain}{steps}"
