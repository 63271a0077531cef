"""How a trained model's likelihood is measured."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from masklab.corruption.noise_schedule import Linear, Polynomial, Schedule
from masklab.schema import Section


class EvaluationSettings(Section):
    """What is scored, and how closely. Settings that agree score the same windows under the same masks, whatever the model."""

    sequences: int = Field(default=12288, ge=2)
    """Masked windows behind the NELBO by exact count."""
    process_sequences: int = Field(default=2048, ge=2)
    """Masked windows behind the NELBO of the forward process."""
    seed: int = Field(default=20_240_601, ge=0, lt=2**63)
    """Decides every mask and every order of generation."""
    batch_size: int = Field(default=64, ge=1)
    """Windows that go through the model at a time; it changes no figure."""
    context: int = Field(default=0, ge=0)
    """Visible characters before each scored block, never masked; at least 1 wherever a language model is scored."""
    schedule: Schedule = Linear()
    """Noise schedule of the continuous-time NELBO."""
    timesteps: int | None = Field(default=None, ge=1)
    """Discrete steps of that process; continuous time when not given."""
    orders: int = Field(default=4, ge=1)
    """Orders of generation that the importance-weighted bound averages over (K)."""
    order_sequences: int = Field(default=8, ge=0)
    """Windows behind that bound, each `orders` times its length in passes through the network; 0 leaves it out."""
    curve_levels: int = Field(default=16, ge=0)
    """Mask ratios, evenly spaced up to 1, at which the cross-entropy is measured; 0 leaves the curve out."""
    curve_sequences: int = Field(default=128, ge=2)
    """Windows behind each point of that curve."""
    stage_sequences: int = Field(default=256, ge=1)
    """Windows behind the figures of each validation stage."""

    @model_validator(mode="after")
    def _enough_for_a_standard_error(self) -> Self:
        if self.order_sequences == 1:
            raise ValueError("order_sequences=1 leaves no standard error; give 2 or more, or 0 to leave the bound out")
        return self

    @model_validator(mode="after")
    def _finite_variance(self) -> Self:
        if isinstance(self.schedule, Polynomial) and self.schedule.power < 1 and self.timesteps is None:
            raise ValueError(
                f"schedule polynomial with power {self.schedule.power:g} gives its weights no finite variance near t = 0, so that one "
                "figure lies below the bound more often than not; give a power of 1 or more, or timesteps"
            )
        return self
