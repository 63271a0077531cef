"""The closed union of modes: what `mode.type` can be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masklab.modes.language_model import LanguageModel
from masklab.modes.token_classifier import TokenClassifier

AnyMode = Annotated[TokenClassifier | LanguageModel, Field(discriminator="type")]
