"""What `jobs/sync.py` can be told."""

from __future__ import annotations

from pydantic import Field

from masklab.schema import Section


class TargetSettings(Section):
    """Where it is sent."""

    uri: str | None = Field(default=None, min_length=1)
    """MLflow store; that of each run's configuration when not given, else MLFLOW_TRACKING_URI, else `mlflow.db` in the project folder."""


class SyncConfig(Section):
    """What waits in run folders for MLflow, sent."""

    run: str | None = Field(default=None, min_length=1)
    """The name or the folder of a run, sweep or comparison; all those in `runs` when not given."""
    tracking: TargetSettings = TargetSettings()
    """Where it is sent."""
