"""Configuration of jobs/predict.py."""

from __future__ import annotations

from pydantic import Field

from masklab.config.jobs.tracking import StoreSettings
from masklab.schema import Section
from masklab.training.settings import ComputeSettings


class TextsSettings(Section):
    """The texts that labels are predicted for."""

    path: str = Field(min_length=1)
    """File with a column of texts: CSV, TSV, JSON lines or Parquet, optionally compressed as .gz."""
    text_column: str | None = None
    """Column of the texts. If null, the column the model was trained on, else `text`."""


class PredictConfig(Section):
    """Labels by a trained classifier."""

    checkpoint: str = Field(min_length=1)
    """The model: a run's name or folder (its newest checkpoint; RUN/best for its best), or a checkpoint's folder."""
    dataset: TextsSettings
    """The texts."""
    output: str | None = Field(default=None, min_length=1)
    """File to write, .csv or .tsv. If null, a new file under `predictions` in the run's folder."""
    batch_size: int = Field(default=64, ge=1)
    """Texts in one forward pass."""
    system: ComputeSettings = ComputeSettings()
    """Device and number format."""
    tracking: StoreSettings = StoreSettings()
    """MLflow store of the run, to which the file is added."""
