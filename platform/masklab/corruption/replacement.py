"""What a selected position becomes: the mask token, a random character, or itself.

Shapes: B sequences, T positions, V characters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from masklab.corruption.bernoulli import bernoulli, uniform_integers
from masklab.corruption.probability import Probability
from masklab.rng import RowStreams, Stream, fold
from masklab.schema import Section

if TYPE_CHECKING:
    from masklab.text.vocabulary import Vocabulary


class Replacement(Section):
    """Shares of the selected positions; BERT's are 0.8/0.1/0.1 (Devlin et al. 2019, section 3.1)."""

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
            raise ValueError(f"mask {self.mask:g} + random {self.random:g} + keep {self.keep:g} make {total:g}; the shares must make 1")
        return self

    def apply(self, tokens: NDArray[Any], selected: NDArray[np.bool_], streams: RowStreams, vocabulary: Vocabulary) -> NDArray[Any]:
        """The corrupted copy (B, T) of `tokens` (B, T), same dtype; positions that are not `selected` (B, T) stay."""
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
