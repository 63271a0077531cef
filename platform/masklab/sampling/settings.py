"""How text is generated: the sampler, and all that goes for any of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from masklab.sampling.decoding import Decoding
from masklab.sampling.sampling_strategy import SamplingStrategy
from masklab.sampling.stochastic import Stochastic


class SamplingSettings(Decoding):
    """From masks to text. The sampler's keys stand beside these: `sampling.strategy=confidence sampling.steps=32`."""

    sampler: SamplingStrategy = Stochastic()
    """The reverse process, from a fully masked block to text."""
    num_samples: int = Field(default=1, ge=1, le=100_000)
    """Texts to generate."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the generated texts."""
    length: int | None = Field(default=None, ge=1)
    """Characters of a text, the prompt's included; training.block_size, or the prompt's own length, when not given."""
    prompt: str = ""
    """Given characters: a prefix, or a template in which [5] stands for five characters to be written and [*] for all the rest."""
    unknown: Literal["error", "mask", "drop"] = "error"
    """What becomes of a prompt's characters that are not in the vocabulary: refused, written by the model, or left out."""
    batch_size: int = Field(default=64, ge=1)
    """Texts in one pass through the network; it changes no text."""

    @model_validator(mode="before")
    @classmethod
    def _gather_sampler(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "sampler" in value:
            return value
        own = {k: v for k, v in value.items() if k in cls.model_fields}
        sampler = {k: v for k, v in value.items() if k not in cls.model_fields}
        return own | {"sampler": {"strategy": "stochastic"} | sampler}

    @model_serializer(mode="wrap")
    def _spread_sampler(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = handler(self)
        sampler: dict[str, Any] = flat.pop("sampler")
        return sampler | flat
