"""A stage: one distribution over corruptions, and what ends it."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from masklab.corruption.masking_strategy import MaskingStrategy
from masklab.schema import Section


class Stage(Section):
    """One step of a curriculum. In a file its masking keys are beside its own: `{type: sticky, mask_ratio: 0.2, patience: 5}`."""

    masking: MaskingStrategy
    """How positions are selected, and what replaces them."""
    patience: int | None = Field(default=None, ge=1)
    """Evaluations in a row without improvement that end the stage. If null, the curriculum's."""
    min_delta: float | None = Field(default=None, ge=0)
    """Minimum decrease of the loss that counts as an improvement. If null, the curriculum's."""
    max_iters: int | None = Field(default=None, ge=1)
    """Maximum number of iterations in this stage."""
    max_share: float | None = Field(default=None, gt=0, le=1)
    """Maximum share of the run's whole budget for this stage."""

    @model_validator(mode="before")
    @classmethod
    def _gather_masking(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "masking" in value:
            return value
        own = {k: v for k, v in value.items() if k in cls.model_fields}
        return own | {"masking": {k: v for k, v in value.items() if k not in cls.model_fields}}

    @model_serializer(mode="wrap")
    def _spread_masking(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = handler(self)
        masking: dict[str, Any] = flat.pop("masking")
        return masking | flat
