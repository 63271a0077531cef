"""Configuration of jobs/sync.py."""

from __future__ import annotations

from pydantic import Field

from masklab.schema import Section


class TargetSettings(Section):
    """Where the records are sent."""

    uri: str | None = Field(default=None, min_length=1)
    """MLflow store. If null, that of each run's configuration, else MLFLOW_TRACKING_URI, else `mlflow.db` in the project folder."""


class SyncConfig(Section):
    """The run folders whose pending records are sent to MLflow."""

    run: str | None = Field(default=None, min_length=1)
    """Name or folder of a run, sweep or comparison. If null, all in `runs`."""
    tracking: TargetSettings = TargetSettings()
    """Where the records are sent."""
