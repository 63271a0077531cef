"""The closed union of masking strategies: what a stage's `type` can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masklab.corruption.diffusion import Diffusion
from masklab.corruption.exact_count import ExactCount
from masklab.corruption.random_ratio import RandomRatio
from masklab.corruption.run_length import RunLength
from masklab.corruption.span import Span
from masklab.corruption.sticky import Sticky
from masklab.corruption.unmasked import Unmasked

MaskingStrategy = Annotated[
    RandomRatio | Sticky | Span | RunLength | ExactCount | Diffusion | Unmasked,
    Field(discriminator="type"),
]
