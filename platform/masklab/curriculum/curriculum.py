"""A curriculum: stages in order, and the rule for moving on."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from masklab.curriculum.stage import Stage
from masklab.io.paths import LONGEST_OF_CURRICULA, checked_name
from masklab.schema import Section


class Curriculum(Section):
    """Stages that get harder when validation stops improving (Bengio et al. 2009), or one stage for a baseline."""

    name: str = Field(default="custom", max_length=LONGEST_OF_CURRICULA)
    """Name in tables and run names."""
    description: str = ""
    """One sentence that describes it to a reader of the run."""
    stages: tuple[Stage, ...] = Field(min_length=1)
    """The stages, first to last."""
    patience: int = Field(default=5, ge=1)
    """Evaluations in a row without improvement that end a stage. Applies to stages that do not set it."""
    min_delta: float = Field(default=0.0, ge=0)
    """Minimum decrease of the loss, in nats per character, that counts as an improvement. Applies to stages that do not set it."""
    mixing: Literal["current", "cumulative", "all"] = "current"
    """Training rows use masks of the current stage, of all stages up to it in equal shares (cumulative), or always of all stages."""
    advance_on: Literal["all_stages", "current_stage"] = "all_stages"
    """Loss that must improve: the mean over the validation stages, or that of the current stage."""
    stop_when_stale: bool = False
    """End the run when the last stage stops improving, instead of training to the end of the budget."""
    validation_stages: tuple[Stage, ...] | None = Field(default=None, min_length=1)
    """Stages whose masks each evaluation measures the loss under. If null, the training stages."""
    advance_over: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Indices of the validation stages whose mean loss must improve. An index given twice counts twice. If null, all stages, equally."""

    @field_validator("name")
    @classmethod
    def _one_path_component(cls, name: str) -> str:
        return checked_name(name)

    @model_validator(mode="after")
    def _current_stage_needs_its_own_pool(self) -> Self:
        if self.advance_on == "current_stage" and self.validation_stages is not None and len(self.validation_stages) != len(self.stages):
            raise ValueError(
                f"advance_on=current_stage needs one validation stage for each of the {len(self.stages)} training stages, "
                f"not {len(self.validation_stages)}; drop validation_stages or use advance_on=all_stages"
            )
        return self

    @model_validator(mode="after")
    def _advances_over_stages_that_are_there(self) -> Self:
        if self.advance_over is None:
            return self
        if self.advance_on == "current_stage":
            raise ValueError("advance_over goes with advance_on=all_stages: the current stage has one validation stage of its own")
        if strange := [number for number in self.advance_over if not 0 <= number < len(self.pools)]:
            raise ValueError(f"advance_over names stage {strange[0]}, and the validation stages are numbered 0 to {len(self.pools) - 1}")
        return self

    @property
    def pools(self) -> tuple[Stage, ...]:
        return self.stages if self.validation_stages is None else self.validation_stages

    def patience_of(self, stage: int) -> int:
        """Stale evaluations that end stage number `stage`."""
        own = self.stages[stage].patience
        return self.patience if own is None else own

    def min_delta_of(self, stage: int) -> float:
        """The least improvement that counts in stage number `stage`, in nats per character."""
        own = self.stages[stage].min_delta
        return self.min_delta if own is None else own

    def mixed_stages(self, stage: int) -> tuple[int, ...]:
        """The stages whose corruptions the rows of a batch come from while `stage` is the current one."""
        if self.mixing == "current":
            return (stage,)
        return tuple(range(stage + 1 if self.mixing == "cumulative" else len(self.stages)))

    def digest(self) -> str:
        """A hash of everything that decides which batches are made; names and descriptions do not count."""
        body = self.model_dump(mode="json", exclude={"name", "description"})
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
