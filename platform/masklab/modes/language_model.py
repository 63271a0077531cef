"""The autoregressive language model: X = tokens[:-1], Y = tokens[1:], every position counted.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from masklab.corruption.masking import Masking
from masklab.corruption.unmasked import Unmasked
from masklab.modes.character_mode import CharacterMode
from masklab.modes.examples import Examples, all_selected
from masklab.rng import RowStreams
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary


class LanguageModel(CharacterMode):
    """Predict each character from those before it: the reference to which masked diffusion is compared."""

    type: Literal["language_model"] = "language_model"
    """What the model learns to predict."""

    causal: ClassVar[bool] = True

    @property
    def needs_masks(self) -> bool:
        return False

    @property
    def yardstick(self) -> Masking | None:
        """Nothing is masked: the mean over all positions is the negative log-likelihood itself."""
        return Unmasked()

    def window(self, block_size: int) -> int:
        """One more than T, for the last target."""
        return block_size + 1

    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """Characters (B, T) and the ones that follow them."""
        return all_selected(rows.tokens[:, :-1], rows.tokens[:, 1:])
