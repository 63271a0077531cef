"""How a run generates text."""

from __future__ import annotations

from pydantic import Field

from masklab.schema import Section


class SamplingSettings(Section):
    """The reverse process, from a fully masked block to text."""

    num_samples: int = Field(default=1, ge=1)
    """Texts to generate."""
    steps: int = Field(default=64, ge=1)
    """Steps from fully masked to text, each one pass through the network."""
    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the most probable character."""
    seed: int = Field(default=0, ge=0)
    """Seed of the generated texts."""
    length: int | None = Field(default=None, ge=1)
    """Characters to generate, the prompt's included; training.block_size when not given."""
    prompt: str = ""
    """Characters that each text begins with."""
