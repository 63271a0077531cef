"""The closed union of modes: what `mode.type` can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masklab.modes.language_model import LanguageModel
from masklab.modes.replaced_token_detector import ReplacedTokenDetector
from masklab.modes.sequence_classifier import SequenceClassifier
from masklab.modes.token_classifier import TokenClassifier
from masklab.modes.token_labeller import TokenLabeller

AnyMode = Annotated[
    TokenClassifier | LanguageModel | ReplacedTokenDetector | SequenceClassifier | TokenLabeller, Field(discriminator="type")
]
