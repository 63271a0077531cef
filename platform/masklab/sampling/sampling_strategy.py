"""The closed union of samplers: what `sampling.strategy` can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masklab.sampling.autoregressive import Autoregressive
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
