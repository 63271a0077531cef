"""The base of every masking strategy: it selects positions, gives their probability, and replaces their characters.

Shapes: B sequences, T positions, V characters.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, model_validator

from masklab.corruption.bernoulli import bernoulli, uniform_integers
from masklab.rng import RowStreams, Stream, fold
from masklab.schema import Section

if TYPE_CHECKING:
    from masklab.text.vocabulary import Vocabulary


def _from_zero_to_one(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a probability lies between 0 and 1, and {value:g} does not")
    return value


Probability = Annotated[float, AfterValidator(_from_zero_to_one)]


class Replacement(Section):
    """What selected positions become, in shares of them; BERT's are 0.8/0.1/0.1 (Devlin et al. 2019, section 3.1)."""

    mask: Probability = 1.0
    """Share replaced by the mask token."""
    random: Probability = 0.0
    """Share replaced by a character drawn uniformly from the vocabulary."""
    keep: Probability = 0.0
    """Share left unchanged, and predicted nevertheless."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Self:
        total = self.mask + self.random + self.keep
        if abs(total - 1.0) > 1e-6:
            raise ValueError(
                f"mask {self.mask:g} + random {self.random:g} + keep {self.keep:g} make {total:g}; the shares must add up to 1"
            )
        return self

    def apply(self, tokens: NDArray[Any], selected: NDArray[np.bool_], streams: RowStreams, vocabulary: Vocabulary) -> NDArray[Any]:
        """A corrupted copy (B, T) of `tokens` (B, T), same dtype; positions that are not `selected` (B, T) stay as they are."""
        inputs = np.where(selected, tokens.dtype.type(vocabulary.mask_id), tokens)
        unmasked_share = self.random + self.keep
        if unmasked_share == 0:
            return inputs
        keys, block_size = streams.stream(Stream.REPLACEMENT), tokens.shape[1]
        unmasked = selected & ~bernoulli(fold(keys, 1), 1 - unmasked_share, block_size)
        randomised = unmasked & bernoulli(fold(keys, 2), self.random / unmasked_share, block_size)
        np.copyto(inputs, tokens, where=unmasked)
        np.copyto(inputs, uniform_integers(fold(keys, 3), randomised, vocabulary.size).astype(tokens.dtype), where=randomised)
        return inputs


@dataclass(frozen=True)
class MaskDraw:
    """The positions that one draw selects.

    `selected` (B, T) bool. `probability` (B,) float32: the share of positions that the draw aims at, `1 - alpha_t` for a
    diffusion stage, k/T for an exact count. It is the noise level of a time-conditioned model and the divisor of `inverse_mask_prob`.
    `elbo_weight` (B,) float32: `-dalpha_t / (1 - alpha_t)` for a diffusion stage (MDLM, Sahoo et al. 2024, eq. 10), otherwise
    `1 / probability`; 0 in a row where nothing can be selected.
    """

    selected: NDArray[np.bool_]
    probability: NDArray[np.float32]
    elbo_weight: NDArray[np.float32]

    @classmethod
    def at(cls, selected: NDArray[np.bool_], probability: NDArray[np.float64], rate: NDArray[np.float64] | float = 1.0) -> MaskDraw:
        """A draw at `probability` (B,), `1 - alpha_t`, with ELBO weight `rate / probability`, where `rate` is `-dalpha_t`.

        The weight is 0 where the probability is below the least normal float32: there the weight could be infinite.
        """
        selectable = probability >= np.finfo(np.float32).tiny
        elbo_weight = np.divide(rate, probability, out=np.zeros_like(probability), where=selectable)
        return cls(selected, probability.astype(np.float32), elbo_weight.astype(np.float32))


class Masking(Section):
    """A distribution over sets of positions: frozen configuration that also masks."""

    replacement: Replacement = Replacement()
    """What replaces a selected position: shares of the mask token, of a random character, and of positions left unchanged."""

    @abstractmethod
    def draw(self, streams: RowStreams, block_size: int) -> MaskDraw:
        """Select positions in the rows (B,) of `streams`, T = `block_size` each. Pure: the same streams, the same draw."""

    @abstractmethod
    def expected_ratio(self, block_size: int) -> float:
        """The expected share of selected positions, in [0, 1]; the realised ratio of a pool is compared with it."""

    @abstractmethod
    def ratio_range(self, block_size: int) -> tuple[float, float]:
        """The lowest and highest share of positions that rows of this strategy are trained at."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for tables, e.g. `sticky 40 % (start 0.2, extend 0.8)`."""
