"""Settings of the likelihood evaluation of a trained model."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from masklab.corruption.noise_schedule import Linear, Polynomial, Schedule
from masklab.schema import Section


class EvaluationSettings(Section):
    """The windows to score and their number. Equal settings score the same windows under the same masks, whatever the model."""

    sequences: int = Field(default=12288, ge=2)
    """Masked windows that the exact-count NELBO is estimated on."""
    process_sequences: int = Field(default=2048, ge=2)
    """Masked windows (of the diffusion process) that the continuous-time NELBO is estimated on."""
    seed: int = Field(default=20_240_601, ge=0, lt=2**63)
    """Random seed of the masks and of the generation orders."""
    batch_size: int = Field(default=64, ge=1)
    """Windows in one forward pass. It does not change the metrics."""
    context: int = Field(default=0, ge=0)
    """Visible, never masked characters before each scored block; at least 1 if a language model is scored, because
    it predicts each character from those before it."""
    schedule: Schedule = Linear()
    """Noise schedule of the continuous-time NELBO."""
    timesteps: int | None = Field(default=None, ge=1)
    """Discrete time steps in place of the continuous time of the continuous-time NELBO. If null, continuous time."""
    orders: int = Field(default=4, ge=1)
    """Generation orders (K) that the importance-weighted bound averages over."""
    order_sequences: int = Field(default=8, ge=0)
    """Windows that the importance-weighted bound is estimated on; each costs orders x length forward passes. 0 skips it."""
    curve_levels: int = Field(default=16, ge=0)
    """Number of mask ratios, evenly spaced up to 1, in the cross-entropy curve by mask ratio. 0 skips the curve."""
    curve_sequences: int = Field(default=128, ge=2)
    """Windows per mask ratio of the cross-entropy curve."""
    stage_sequences: int = Field(default=256, ge=1)
    """Windows that the metrics of each validation stage are computed on."""

    @model_validator(mode="after")
    def _enough_for_a_standard_error(self) -> Self:
        if self.order_sequences == 1:
            raise ValueError("order_sequences=1 leaves no standard error; give 2 or more, or 0 to skip the bound")
        return self

    @model_validator(mode="after")
    def _finite_variance(self) -> Self:
        if isinstance(self.schedule, Polynomial) and self.schedule.power < 1 and self.timesteps is None:
            raise ValueError(
                f"schedule polynomial with power {self.schedule.power:g} gives the ELBO weights no finite variance near t = 0, so that a "
                "single estimate lies below the bound more often than not; give a power of 1 or more, or timesteps"
            )
        return self
