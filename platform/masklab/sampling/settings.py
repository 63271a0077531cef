"""How text is generated: the sampler, and all that goes for any of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from masklab.errors import ConfigError
from masklab.sampling.autoregressive import Autoregressive
from masklab.sampling.decoding import Decoding
from masklab.sampling.first_hitting import FirstHitting
from masklab.sampling.fixed_rate import FixedRate
from masklab.sampling.most_certain import Confidence, Entropy, Margin
from masklab.sampling.remask import Remask
from masklab.sampling.remdm import ReMDM
from masklab.sampling.semi_autoregressive import SemiAutoregressive
from masklab.sampling.stochastic import Stochastic
from masklab.sampling.threshold import Threshold

SamplingStrategy = Annotated[
    Stochastic
    | FirstHitting
    | FixedRate
    | Confidence
    | Margin
    | Entropy
    | Threshold
    | Remask
    | ReMDM
    | SemiAutoregressive
    | Autoregressive,
    Field(discriminator="strategy"),
]
"""The closed union of samplers: what `sampling.strategy` can be."""


class SamplingSettings(Decoding):
    """From masks to text. The sampler's keys are given on the same level: `sampling.strategy=confidence sampling.steps=32`."""

    sampler: SamplingStrategy = Stochastic()
    """The sampler that turns a fully masked block into text. If not given, stochastic; for a language model, autoregressive."""
    num_samples: int = Field(default=1, ge=1, le=100_000)
    """Number of texts to generate."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    """Random seed of the generated texts."""
    length: int | None = Field(default=None, ge=1)
    """Characters of a text, prompt included. If null, the prompt's own length if it has numbered gaps and no [*], else the model's
    block_size."""
    prompt: str = ""
    """Fixed characters: a prefix, or a template in which [5] is a gap of five characters and [*] a gap of all the remaining ones."""
    unknown: Literal["error", "mask", "drop"] = "error"
    """Characters of the prompt outside the vocabulary: raise an error, let the model write them (mask), or leave them out (drop)."""
    batch_size: int = Field(default=64, ge=1)
    """Texts in one forward pass. It does not change the texts."""

    @model_validator(mode="before")
    @classmethod
    def _gather_sampler(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "sampler" in value:
            return value
        own = {k: v for k, v in value.items() if k in cls.model_fields}
        sampler = {k: v for k, v in value.items() if k not in cls.model_fields}
        if not sampler:
            return own
        kind = "autoregressive" if sampler.keys() <= Autoregressive.model_fields.keys() else "stochastic"
        return own | {"sampler": {"strategy": kind} | sampler}

    def suited(self, causal: bool) -> Self:
        """These settings with the network's own kind of sampler where none is given. Raises ConfigError for one of the other kind."""
        if self.sampler.causal == causal:
            return self
        if "sampler" not in self.model_fields_set:
            return self.model_copy(update={"sampler": Autoregressive() if causal else Stochastic()})
        keys = ", ".join(sorted(self.sampler.model_fields_set - {"strategy"}))
        asked = f"sampling.strategy = {self.sampler.strategy}{f' (with {keys})' if keys else ''}"
        if causal:
            raise ConfigError(
                f"{asked}: fills masks, and a language model writes from left to right; leave out the strategy and its keys, or give "
                "sampling.strategy=autoregressive"
            )
        raise ConfigError(
            f"{asked}: writes with a language model, and this model fills masks; give another strategy, such as semi_autoregressive, which "
            "goes from left to right in blocks"
        )

    @model_serializer(mode="wrap")
    def _spread_sampler(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        flat: dict[str, Any] = handler(self)
        sampler: dict[str, Any] = flat.pop("sampler")
        return sampler | flat
