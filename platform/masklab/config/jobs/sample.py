"""What `jobs/sample.py` can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masklab.config.jobs.tracking import StoreSettings
from masklab.sampling.settings import SamplingSettings
from masklab.schema import Section
from masklab.training.settings import ComputeSettings


class WatchSettings(Section):
    """How the generation is shown, step by step."""

    live: bool | None = None
    """Show the texts as they are written; wherever the output is a terminal when not given."""
    html: bool = False
    """Write a page that plays the steps back."""
    gif: bool = False
    """Write an animation of the steps of the first text."""
    colour_by: Literal["step", "confidence"] = "step"
    """What the colour of a character tells in the terminal and the animation: when it was written, or how sure the model was."""


class SampleConfig(Section):
    """Texts from a trained model."""

    checkpoint: str = Field(min_length=1)
    """The model: the name of a run, a run's folder (its newest checkpoint; RUN/best is its best), or one checkpoint's folder."""
    output: str | None = Field(default=None, min_length=1)
    """Folder of the sets of samples, each in a numbered folder of its own; `samples` in the run's folder when not given."""
    sampling: SamplingSettings = SamplingSettings()
    """How text is generated."""
    watch: WatchSettings = WatchSettings()
    """How the generation is shown."""
    system: ComputeSettings = ComputeSettings()
    """Device and number format."""
    tracking: StoreSettings = StoreSettings()
    """Where the run is kept, which the samples are added to."""
