"""Everything that the network is certain enough of, at once: the number of steps follows from the text.

Shapes: B texts, T positions, M predicted positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field

from masklab.sampling import certainty
from masklab.sampling.sampler import ReverseProcess, Sampler, lowest


class Threshold(Sampler):
    """Each step writes every masked position whose largest probability is at least `threshold`, and always the most certain one.

    Wu et al. 2025 ("Fast-dLLM"), section 3.3: where each largest probability is near 1, the product of the marginals is near the joint,
    whatever is then drawn. So it is the largest probability that counts and not that of the drawn character, which would hold an
    unlikely draw back until a likely one replaces it; one character at a time, the order then leaves the joint distribution as it is.
    Temperature 1, before truncation. A text takes as many steps as it needs, and none once it is written.
    """

    strategy: Literal["threshold"] = "threshold"
    """Name of the sampler."""
    threshold: float = Field(default=0.9, ge=0, le=1)
    """A position is written if its most probable character has at least this probability. 0 writes all at once, 1 one position per step."""

    def run(self, process: ReverseProcess) -> Iterator[None]:
        while (masked_B := process.canvas.masked.sum(axis=1)).any():
            prediction = process.predict(masked_B > 0)
            log_certainty_M = certainty.of_likeliest(prediction.log_probability)
            first = lowest(prediction.spread(-log_certainty_M, np.inf), np.minimum(masked_B, 1))
            sure = prediction.spread(np.exp(prediction.log_probability.max(axis=1)), -1.0) >= self.threshold
            process.write(prediction, sure | first)
            yield

    def describe(self) -> str:
        return f"threshold {self.threshold:g}"
