"""Block by block from left to right, beyond the length that the model was trained on.

Shapes: B texts, T positions of a whole text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from masklab.errors import ConfigError
from masklab.sampling.first_hitting import FirstHitting
from masklab.sampling.fixed_rate import FixedRate
from masklab.sampling.most_certain import Confidence, Entropy, Margin
from masklab.sampling.remask import Remask
from masklab.sampling.remdm import ReMDM
from masklab.sampling.sampler import Prediction, ReverseProcess, Sampler
from masklab.sampling.stochastic import Stochastic
from masklab.sampling.threshold import Threshold

INNER: dict[str, type[Sampler]] = {
    "stochastic": Stochastic,
    "first_hitting": FirstHitting,
    "confidence": Confidence,
    "margin": Margin,
    "entropy": Entropy,
    "fixed_rate": FixedRate,
    "threshold": Threshold,
    "remask": Remask,
    "remdm": ReMDM,
}


@dataclass(frozen=True)
class BlockProcess(ReverseProcess):
    """The reverse process of one block among others: its sampler's time is not that of all that the network sees."""

    def predict(self, rows_B: NDArray[np.bool_], noise_level_B: NDArray[np.float64] | None = None) -> Prediction:
        """The noise level of a time-conditioned network is the masked share of its window."""
        return super().predict(rows_B)


class SemiAutoregressive(Sampler):
    """Blocks of `block_length` positions, each written by another sampler before the next one is begun.

    Nie et al. 2025 ("LLaDA"), section 2.4; Arriola et al. 2025 ("Block diffusion"), of which this is the sampler for a network that was
    not trained on blocks. `window_of` says what the network sees along with a block. With one block, this is the other sampler itself.
    A block begins for all texts of a canvas together, so that the steps at which a text is written, though not the text, may
    depend on how many steps the others took for the block before.
    """

    exceeds_block_size: ClassVar[bool] = True

    strategy: Literal["semi_autoregressive"] = "semi_autoregressive"
    """Name of the sampler."""
    block_length: int = Field(default=32, ge=1)
    """Positions written together as one block; at most the model's block_size."""
    inner: Literal["stochastic", "first_hitting", "confidence", "margin", "entropy", "fixed_rate", "threshold", "remask", "remdm"] = (
        "confidence"
    )
    """The sampler that writes each block."""
    block_steps: int | None = Field(default=None, ge=1)
    """Steps per block. If null, the default of the inner sampler."""

    @model_validator(mode="after")
    def _inner_counts_steps(self) -> Self:
        if self.block_steps is not None and "steps" not in INNER[self.inner].model_fields:
            raise ValueError(f"block_steps={self.block_steps} means nothing to inner={self.inner}, which takes no steps; leave it out")
        return self

    def inner_sampler(self) -> Sampler:
        return INNER[self.inner].model_validate({} if self.block_steps is None else {"steps": self.block_steps})

    def check(self, block_size: int) -> None:
        if self.block_length > block_size:
            raise ConfigError(
                f"sampling.block_length={self.block_length} is more than the model's block_size={block_size}; give at most that"
            )

    def run(self, process: ReverseProcess) -> Iterator[None]:
        canvas, inner = process.canvas, self.inner_sampler()
        T = canvas.tokens.shape[1]
        # all texts of a canvas have the same given positions
        given_T = canvas.given[0]
        for number, first in enumerate(range(0, T, self.block_length)):
            block = slice(first, min(T, first + self.block_length))
            part = canvas.part(block, window_of(block, given_T, process.block_size), number)
            if not part.masked.any():
                continue
            of_part = replace(process, canvas=part)
            for _ in inner.run(of_part if self.block_length >= T else BlockProcess(**vars(of_part))):
                yield
                part.step = canvas.step

    def describe(self) -> str:
        return f"semi-autoregressive, blocks of {self.block_length} by {self.inner_sampler().describe()}"


def window_of(block: slice, given_T: NDArray[np.bool_], block_size: int) -> slice:
    """The positions that the network sees for `block`: `block_size` of them, or the whole text if that is shorter.

    They end with the block, for the context is what was written before it. But where characters are `given` (T,) after it, at
    no more than half of what the block leaves of `block_size`, they end with the last of these, so that a block is written to fit its
    suffix. At the beginning of a text, where too little comes before, they begin with it and go on behind the block.
    """
    reach = (block_size - (block.stop - block.start)) // 2
    ahead = np.flatnonzero(given_T[block.stop : block.stop + reach])
    stop = block.stop + (int(ahead[-1]) + 1 if len(ahead) else 0)
    first = max(0, stop - block_size)
    return slice(first, min(len(given_T), first + block_size))
