"""The most certain characters first: three measures of certainty, with so many characters a step by a schedule.

Shapes: B texts, T positions, M predicted positions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from masklab.corruption.noise_schedule import Linear, Schedule
from masklab.sampling import certainty
from masklab.sampling.canvas import Draw
from masklab.sampling.sampler import Prediction, ReverseProcess, Sampler, lowest, masked_shares


class MostCertain(Sampler):
    """In each step every masked position is predicted, and those are written of which the network is most certain.

    Chang et al. 2022 ("MaskGIT"), section 3.2: after step i of `steps`, the share of `schedule` at t = 1 - i / steps is still masked of
    the positions that were masked at first. At least one is written in each step, so a text with fewer positions than steps is done early.
    Equally certain ones come in the order of the text.
    """

    strategy: str
    """Name of the sampler."""
    steps: int = Field(default=64, ge=1)
    """Number of sampling steps."""
    schedule: Schedule = Linear()
    """Noise schedule that sets the masked share after each step."""
    randomness_strength: float = Field(default=0.0, ge=0, le=1e6)
    """Scale of the Gumbel noise added to log certainty; it decreases linearly to 0 over the steps. 0 always takes the most certain
    positions."""

    @abstractmethod
    def log_certainty(self, prediction: Prediction) -> NDArray[np.float64]:
        """How certain the network is at each predicted position, (M,), on the scale of a log-probability; always finite."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas = process.canvas
        total_B = canvas.masked.sum(axis=1)
        for step, share in enumerate(masked_shares(self.schedule, self.steps)[1:], start=1):
            masked_B = canvas.masked.sum(axis=1)
            if not masked_B.any():
                return
            prediction = process.predict(masked_B > 0)
            log_certainty_M = self.log_certainty(prediction)
            if self.randomness_strength:
                scale = self.randomness_strength * (1 - step / self.steps)
                log_certainty_M = log_certainty_M + scale * gumbel(canvas.uniforms(Draw.ORDER)[prediction.where])
            count_B = masked_B - left_masked(total_B, masked_B, share)
            process.write(prediction, lowest(prediction.spread(-log_certainty_M, np.inf), count_B))
            yield

    def describe(self) -> str:
        return f"{self.strategy}, {self.steps} steps"


class Confidence(MostCertain):
    """By the probability of the drawn character (Chang et al. 2022, section 3.2; Nie et al. 2025, "LLaDA", algorithm 5).

    An order that looks at what was drawn prefers likely characters, as a lower temperature would, even at one character a step
    (Hayakawa et al. 2025, "Demystifying MaskGIT sampler and beyond").
    """

    strategy: Literal["confidence"] = "confidence"
    """Name of the sampler."""

    def log_certainty(self, prediction: Prediction) -> NDArray[np.float64]:
        return certainty.of_drawn(prediction.log_probability, prediction.drawn)


class Margin(MostCertain):
    """By the difference of the two largest probabilities (Kim et al. 2025, "Train for the worst, plan for the best", section 4)."""

    strategy: Literal["margin"] = "margin"
    """Name of the sampler."""

    def log_certainty(self, prediction: Prediction) -> NDArray[np.float64]:
        return certainty.margin(prediction.log_probability)


class Entropy(MostCertain):
    """By the entropy, lowest first.

    Ben-Hamu et al. 2025, "Accelerated sampling from masked diffusion models via entropy bounded unmasking"; Ye et al. 2025, "Dream 7B".
    """

    strategy: Literal["entropy"] = "entropy"
    """Name of the sampler."""

    def log_certainty(self, prediction: Prediction) -> NDArray[np.float64]:
        return certainty.negative_entropy(prediction.log_probability)


def left_masked(total_B: NDArray[np.int64], masked_B: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """How many of the `masked` (B,) positions a step leaves: `share` of the `total` (B,), rounded down, but fewer than before it."""
    # what should be a whole number may come out a rounding error below it
    aimed_at_B = np.floor(total_B * share + 1e-9).astype(np.int64)
    left_B: NDArray[np.int64] = np.minimum(aimed_at_B, np.maximum(masked_B - 1, 0))
    return left_B


def gumbel(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard Gumbel noise by the inverse distribution function at `u` in [0, 1), of any shape; finite at 0 too."""
    noise: NDArray[np.float64] = -np.log(-np.log(np.maximum(u, 2.0**-54)))
    return noise
