"""Configuration of jobs/sample.py."""

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
    """Show the texts in the terminal as they are written. If null, only if the output is a terminal."""
    html: bool = False
    """Write an HTML page that plays the steps back."""
    gif: bool = False
    """Write an animated GIF of the first text's steps."""
    colour_by: Literal["step", "confidence"] = "step"
    """Meaning of a character's colour in the terminal and the GIF: the step it was written at, or the model's confidence."""


class SampleConfig(Section):
    """Texts from a trained model."""

    checkpoint: str = Field(min_length=1)
    """The model: a run's name or folder (its newest checkpoint; RUN/best for its best), or a checkpoint's folder."""
    output: str | None = Field(default=None, min_length=1)
    """Folder that holds all samples; each call gets a numbered subfolder. If null, `samples` in the run's folder."""
    sampling: SamplingSettings = SamplingSettings()
    """How text is generated."""
    watch: WatchSettings = WatchSettings()
    """How the generation is shown."""
    system: ComputeSettings = ComputeSettings()
    """Device and number format."""
    tracking: StoreSettings = StoreSettings()
    """MLflow store of the run, to which the samples are added."""
