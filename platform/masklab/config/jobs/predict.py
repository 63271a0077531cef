"""What `jobs/predict.py` can be told."""

from __future__ import annotations

from pydantic import Field

from masklab.config.jobs.tracking import StoreSettings
from masklab.schema import Section
from masklab.training.settings import ComputeSettings


class TextsSettings(Section):
    """The texts that labels are predicted for."""

    path: str = Field(min_length=1)
    """The file: CSV, TSV, JSON lines or Parquet with a column of texts, .gz or not."""
    text_column: str | None = None
    """The column; the one that the model was trained on, or text, when not given."""


class PredictConfig(Section):
    """Labels by a trained classifier."""

    checkpoint: str = Field(min_length=1)
    """The model: the name of a run, a run's folder (its newest checkpoint; RUN/best is its best), or one checkpoint's folder."""
    dataset: TextsSettings
    """The texts."""
    output: str | None = Field(default=None, min_length=1)
    """The file to write, .csv or .tsv; a new one in predictions in the run's folder when not given."""
    batch_size: int = Field(default=64, ge=1)
    """Texts that go through the network at a time."""
    system: ComputeSettings = ComputeSettings()
    """Device and number format."""
    tracking: StoreSettings = StoreSettings()
    """Where the run is kept, which a file in its folder is added to."""
