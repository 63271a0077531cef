"""Fields whose keys stand beside those of the section that has them: `sampling.steps` is a key of `sampling.sampler`."""

from __future__ import annotations

FLATTENED = ("masking", "sampler")
"""Each holds one section of a closed union, whose kind is itself one of the keys: `type: sticky`, `strategy: confidence`."""
