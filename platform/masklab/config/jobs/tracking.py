"""The section `tracking`. It is here, not in the tracking package, because that imports this one."""

from __future__ import annotations

from pydantic import Field, field_validator

from masklab.schema import Section


class StoreSettings(Section):
    """Where results on a checkpoint are logged."""

    uri: str | None = Field(default=None, min_length=1)
    """MLflow store. If null, MLFLOW_TRACKING_URI, else the SQLite file `mlflow.db` in the project folder."""
    enabled: bool = True
    """Log the results to the checkpoint's MLflow run. Files are written in any case."""


class TrackingSettings(StoreSettings):
    """Where a new run is logged."""

    enabled: bool = True
    """Log the run to MLflow. Its folder is written in any case."""
    experiment: str = Field(default="masklab", min_length=1, max_length=500)
    """Name of the MLflow experiment."""
    offline: bool = False
    """Send nothing to MLflow now: the records stay in the run's folder until `make sync` sends them."""

    @property
    def is_sent(self) -> bool:
        return self.enabled and not self.offline

    @field_validator("experiment")
    @classmethod
    def _no_blank_edges(cls, name: str) -> str:
        if name != name.strip():
            raise ValueError("must not begin or end with a blank")
        return name
