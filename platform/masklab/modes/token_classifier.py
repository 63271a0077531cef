"""The masked-token predictor: X = masked tokens, Y = original tokens, M = selected positions.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from masklab.corruption.exact_count import ExactCount
from masklab.corruption.masking import Masking
from masklab.modes.character_mode import CharacterMode
from masklab.modes.examples import Examples
from masklab.rng import RowStreams
from masklab.text.rows import Rows
from masklab.text.vocabulary import Vocabulary


class TokenClassifier(CharacterMode):
    """Predict the original character at every selected position."""

    type: Literal["token_classifier"] = "token_classifier"
    """What the model learns to predict."""

    fills_masks: ClassVar[bool] = True
    judges: ClassVar[bool] = True

    @property
    def yardstick(self) -> Masking | None:
        return ExactCount()

    def examples(self, rows: Rows, masking: Masking, streams: RowStreams, vocabulary: Vocabulary) -> Examples:
        """The rows (B, T) with the selected positions replaced, and as they were."""
        draw = masking.draw(streams, rows.tokens.shape[1])
        inputs = masking.replacement.apply(rows.tokens, draw.selected, streams, vocabulary)
        return Examples(inputs, rows.tokens, draw.selected, draw.probability, draw.elbo_weight)
