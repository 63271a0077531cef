"""The closed union of samplers: what `sampling.strategy` can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masklab.sampling.first_hitting import FirstHitting
from masklab.sampling.stochastic import Stochastic

SamplingStrategy = Annotated[Stochastic | FirstHitting, Field(discriminator="strategy")]
