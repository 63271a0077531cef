"""Noise schedules: the probability `1 - alpha_t` that a position is masked at time t, and its derivative `-dalpha_t`.

Shapes: any; a schedule works element by element.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from masklab.errors import did_you_mean
from masklab.schema import Section

Times = NDArray[np.float64]


class NoiseSchedule(Section):
    """A probability p(t) = 1 - alpha_t that never falls while t goes from 0 to 1."""

    type: str
    """Name of the noise schedule."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        self._refuse_level()
        return self

    def _refuse_level(self) -> None:
        first, last = self.value(np.array([0.0, 1.0]))
        if not first < last:
            raise ValueError(f"the share of masked positions must rise from t = 0 to t = 1, and with these values it stays at {first:g}")

    @abstractmethod
    def value(self, t: Times) -> Times:
        """p(t) in [0, 1] at the times `t` in [0, 1]."""

    @abstractmethod
    def derivative(self, t: Times) -> Times:
        """p'(t) = -dalpha_t at the times `t` in [0, 1]."""

    def describe(self) -> str:
        fields = type(self).model_fields
        own = [f"{name} {value:g}" for name, value in self if name != "type" and value != fields[name].default]
        return f"{self.type} ({', '.join(own)})" if own else self.type


class Linear(NoiseSchedule):
    """p = (1 - eps) t + eps (LLaDA, Nie et al. 2025, algorithm 1): the floor keeps 1/p finite."""

    type: Literal["linear"] = "linear"
    """Name of the noise schedule."""
    eps: float = Field(default=1e-3, ge=0, lt=1)
    """Mask probability at t = 0."""

    def value(self, t: Times) -> Times:
        return (1 - self.eps) * t + self.eps

    def derivative(self, t: Times) -> Times:
        return np.full_like(t, 1 - self.eps)


class Cosine(NoiseSchedule):
    """p = 1 - cos^2(w (t + offset)) / cos^2(w offset), w = pi / (2 + 2 offset) (Nichol and Dhariwal 2021, eq. 17), at most `clip`."""

    type: Literal["cosine"] = "cosine"
    """Name of the noise schedule."""
    offset: float = Field(default=0.008, ge=0, le=1)
    """Offset by which the cosine starts past its flat part."""
    clip: float = Field(default=0.999, gt=0, le=1)
    """Highest mask probability; from where it is reached, the probability is constant and its derivative 0."""

    def value(self, t: Times) -> Times:
        return np.minimum(self._unclipped(t), self.clip)

    def derivative(self, t: Times) -> Times:
        """A sine up to the clip."""
        w = self._frequency
        slope = w * np.sin(2 * w * (t + self.offset)) / np.cos(w * self.offset) ** 2
        return np.where(self._unclipped(t) < self.clip, slope, 0.0)

    @property
    def _frequency(self) -> float:
        return np.pi / 2 / (1 + self.offset)

    def _unclipped(self, t: Times) -> Times:
        w = self._frequency
        # the difference of squares as a product: exactly 0 at t = 0, and never below
        return np.asarray(np.sin(w * (t + 2 * self.offset)) * np.sin(w * t) / np.cos(w * self.offset) ** 2)


class Polynomial(NoiseSchedule):
    """p = t^power (MD4, Shi et al. 2024): the higher the power, the longer few positions are masked."""

    type: Literal["polynomial"] = "polynomial"
    """Name of the noise schedule."""
    power: float = Field(default=2.0, gt=0, le=100)
    """Exponent of t."""

    def value(self, t: Times) -> Times:
        return np.asarray(t**self.power)

    def derivative(self, t: Times) -> Times:
        """power t^(power - 1), which is infinite at t = 0 for a power below 1."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.power * t ** (self.power - 1))


class LogLinear(NoiseSchedule):
    """p = 1 - exp(-sigma) with total noise sigma = -log(1 - (1 - eps) t) (SEDD, Lou et al. 2024), so p = (1 - eps) t."""

    type: Literal["loglinear"] = "loglinear"
    """Name of the noise schedule."""
    eps: float = Field(default=1e-3, ge=0, lt=1)
    """Share of positions still visible at t = 1."""

    def value(self, t: Times) -> Times:
        return (1 - self.eps) * t

    def derivative(self, t: Times) -> Times:
        return np.full_like(t, 1 - self.eps)


class Geometric(NoiseSchedule):
    """p = 1 - exp(-sigma) with total noise sigma = sigma_min^(1 - t) sigma_max^t (SEDD, Lou et al. 2024).

    The defaults are those of its authors' code: p goes from 1e-4 to 1 - 2e-9, so that next to nothing of the bound is left out.
    """

    type: Literal["geometric"] = "geometric"
    """Name of the noise schedule."""
    sigma_min: float = Field(default=1e-4, gt=0)
    """Total noise at t = 0."""
    sigma_max: float = Field(default=20.0, gt=0)
    """Total noise at t = 1."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min {self.sigma_min:g} must be below sigma_max {self.sigma_max:g}")
        self._refuse_level()
        return self

    def value(self, t: Times) -> Times:
        return -np.expm1(-self._sigma(t))

    def derivative(self, t: Times) -> Times:
        """exp(-sigma) sigma log(sigma_max / sigma_min)."""
        sigma = self._sigma(t)
        return np.asarray(np.exp(-sigma) * sigma * (np.log(self.sigma_max) - np.log(self.sigma_min)))

    def _sigma(self, t: Times) -> Times:
        return np.asarray(np.exp((1 - t) * np.log(self.sigma_min) + t * np.log(self.sigma_max)))


_AnySchedule = Linear | Cosine | Polynomial | LogLinear | Geometric
SCHEDULES: dict[str, type[NoiseSchedule]] = {family.model_fields["type"].default: family for family in get_args(_AnySchedule)}
"""Every family by its name."""


def _by_name(value: Any) -> Any:
    """A bare name as the mapping that it stands for: `cosine` as `{type: cosine}`. Raises ValueError for any other word."""
    if isinstance(value, Mapping | NoiseSchedule):
        return value
    if isinstance(value, str) and value in SCHEDULES:
        return {"type": value}
    raise ValueError(f"must be one of {', '.join(SCHEDULES)}{did_you_mean(str(value), SCHEDULES)}")


Schedule = Annotated[_AnySchedule, Field(discriminator="type"), BeforeValidator(_by_name)]
"""The closed union of noise schedules: what a `schedule` can be, by a bare name or with `type` and keys of its own."""
