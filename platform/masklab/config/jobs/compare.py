"""Configuration of jobs/compare.py: that of a training run, and the section `compare`."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from masklab.config.jobs.train import Config
from masklab.curriculum.curriculum import Curriculum
from masklab.modes.any_mode import AnyMode
from masklab.schema import Section

ControlName = Literal["uniform", "reversed", "shuffled", "mixture", "last_only", "uniform_tail"]


class EqualBudget(Section):
    """The budget of each run of a comparison, in one unit; the other units are reported."""

    max_chars: int | None = Field(default=None, ge=1)
    """Characters of training, padding included."""
    max_masked_chars: int | None = Field(default=None, ge=1)
    """Masked (predicted) characters of training."""
    max_flops: float | None = Field(default=None, gt=0)
    """Training FLOPs, forward and backward, converted to characters: all runs have the same model. There is no training.max_flops."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes of the training loop. Runs that share a machine slow each other down, so prefer another unit."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}, not {' and '.join(given) or 'none'}")
        return self

    @property
    def unit(self) -> str:
        return next(name for name, value in self if value is not None)

    @property
    def amount(self) -> float:
        return float(getattr(self, self.unit))


class CompareSettings(Section):
    """What is compared."""

    curricula: tuple[str, ...] = ()
    """Names of curriculum files. Each is compared with its controls and with the baseline."""
    controls: tuple[ControlName, ...] | None = None
    """Control arms, which show what causes a gain. `uniform` stands for the baseline that curriculum= chooses (default uniform); without it
    nothing is compared with a baseline. If null, all."""
    seeds: int = Field(default=5, ge=2)
    """Runs per arm, with seeds run.seed, run.seed + 1, ... Raise it to extend a finished comparison."""
    budget: EqualBudget | None = None
    """Budget of each run, instead of training's: exactly one of max_chars, max_masked_chars, max_flops and max_minutes."""
    margin: float = Field(default=0.0, ge=0)
    """Smallest difference that matters, in nats per character."""
    tail_share: float = Field(default=0.25, gt=0, lt=1)
    """Share of the budget, at its end, that the control uniform_tail trains with uniform masks."""
    curve_levels: int = Field(default=8, ge=1)
    """Number of mask ratios, evenly spaced up to 1, in the cross-entropy curve of the final weights."""
    curve_sequences: int = Field(default=128, ge=2)
    """Windows per mask ratio of the cross-entropy curve."""
    parallel: int | None = Field(default=None, ge=1)
    """Maximum number of runs at a time. If null, as many as the cluster has room for."""

    @field_validator("curricula", "controls")
    @classmethod
    def _no_name_twice(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} twice; give each name once")
        return names

    @property
    def chosen_controls(self) -> tuple[str, ...]:
        return get_args(ControlName) if self.controls is None else self.controls


class CompareConfig(Config):
    """Several curricula at equal budget, over several seeds."""

    curriculum: Curriculum
    """The baseline, which has one stage."""
    compare: CompareSettings = CompareSettings()
    """What is compared."""
    report: str | None = Field(default=None, min_length=1)
    """Name or folder of a comparison whose report is regenerated; nothing is trained."""

    @field_validator("mode")
    @classmethod
    def _fills_masks(cls, mode: AnyMode) -> AnyMode:
        if not mode.fills_masks:
            raise ValueError(
                f"{mode.type} does not fill masks, so its curricula cannot be compared; use mode=token_classifier, or "
                "score two models with jobs/evaluate.py checkpoint=RUN against=OTHER"
            )
        return mode

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.report is not None:
            return self
        if not self.compare.curricula:
            raise ValueError("compare.curricula: no curricula; give at least 1, as compare.curricula=[sticky,random]")
        if self.compare.budget is None:
            raise ValueError(
                "compare.budget: must be given, as compare.budget.max_chars=1000000 (or max_masked_chars, max_flops, max_minutes)"
            )
        if len(self.curriculum.stages) > 1:
            raise ValueError(f"curriculum: the baseline has one stage, and {self.curriculum.name} has {len(self.curriculum.stages)}")
        if self.scaling.most > 1:
            raise ValueError(
                f"scaling.num_workers = {self.scaling.num_workers}: each run of a comparison has one worker; see compare.parallel"
            )
        return self
