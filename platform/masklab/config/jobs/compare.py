"""What `jobs/compare.py` can be told: the tree of a training run, and what is compared."""

from __future__ import annotations

from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from masklab.config.jobs.train import Config
from masklab.curriculum.curriculum import Curriculum
from masklab.modes.any_mode import AnyMode
from masklab.schema import Section

ControlName = Literal["uniform", "reversed", "shuffled", "mixture", "last_only", "uniform_tail"]


class EqualBudget(Section):
    """What each run of a comparison may spend, in one unit; the others are reported."""

    max_chars: int | None = Field(default=None, ge=1)
    """Characters seen."""
    max_masked_chars: int | None = Field(default=None, ge=1)
    """Masked characters, those that are predicted."""
    max_flops: float | None = Field(default=None, gt=0)
    """Floating-point operations of training, forward and backward: a number of characters, since all runs have one model."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes of the training loop; runs beside each other slow each other down."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}, not {' and '.join(given) or 'none'}")
        return self

    @property
    def unit(self) -> str:
        """The key that is given."""
        return next(name for name, value in self if value is not None)

    @property
    def amount(self) -> float:
        """Its value."""
        return float(getattr(self, self.unit))


class CompareSettings(Section):
    """What is compared."""

    curricula: tuple[str, ...] = ()
    """Names of curriculum files, each compared with its controls and with the baseline."""
    controls: tuple[ControlName, ...] | None = None
    """Arms that tell what a gain is due to: uniform (the baseline), reversed, shuffled, mixture, last_only, uniform_tail; all when null."""
    seeds: int = Field(default=5, ge=2)
    """Runs of each arm, under run.seed, run.seed + 1 and so on; raise it to add to a finished comparison."""
    budget: EqualBudget | None = None
    """What each run may spend, one of budget.max_chars, .max_masked_chars, .max_flops and .max_minutes; in place of training's own."""
    margin: float = Field(default=0.0, ge=0)
    """The smallest difference that matters, nats per character."""
    tail_share: float = Field(default=0.25, gt=0, lt=1)
    """Share of the budget that the control uniform_tail gives to uniform masks in the end."""
    curve_levels: int = Field(default=8, ge=1)
    """Mask ratios, evenly spaced up to 1, at which the final weights' cross-entropy is measured."""
    curve_sequences: int = Field(default=128, ge=2)
    """Windows behind each of these points."""
    parallel: int | None = Field(default=None, ge=1)
    """Runs at a time at most; as many as the cluster holds when not given."""

    @field_validator("curricula", "controls")
    @classmethod
    def _no_name_twice(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        twice = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if twice:
            raise ValueError(f"names {', '.join(twice)} twice; give each name once")
        return names

    @property
    def chosen_controls(self) -> tuple[str, ...]:
        """The controls that are asked for."""
        return get_args(ControlName) if self.controls is None else self.controls


class CompareConfig(Config):
    """Several curricula at equal budget, over several seeds."""

    curriculum: Curriculum
    """The baseline, which has one stage."""
    compare: CompareSettings = CompareSettings()
    """What is compared."""
    report: str | None = Field(default=None, min_length=1)
    """Name or folder of a comparison whose report is written again; nothing is trained."""

    @field_validator("mode")
    @classmethod
    def _fills_masks(cls, mode: AnyMode) -> AnyMode:
        if not mode.fills_masks:
            raise ValueError(
                f"{mode.type} fills no masks, and curricula of masks are what is compared; take mode=token_classifier, or set two models "
                "beside each other with jobs/evaluate.py checkpoint=RUN against=OTHER"
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
