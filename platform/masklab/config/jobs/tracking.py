"""Where runs are kept: the sections that the tracking floor reads. They lie here since that floor stands above this one."""

from __future__ import annotations

from pydantic import Field, field_validator

from masklab.schema import Section


class StoreSettings(Section):
    """Where runs are kept."""

    uri: str | None = Field(default=None, min_length=1)
    """MLflow store; MLFLOW_TRACKING_URI when not given, else the SQLite file `mlflow.db` in the project folder."""
    enabled: bool = True
    """Keep the run in MLflow; its folder is written either way."""


class TrackingSettings(StoreSettings):
    """Where a new run is kept."""

    experiment: str = Field(default="masklab", min_length=1, max_length=500)
    """MLflow experiment that the run belongs to."""
    offline: bool = False
    """Send nothing: all that is for MLflow waits in the run's folder until `make sync` sends it."""

    @property
    def is_sent(self) -> bool:
        """Whether runs are sent to a store while they go on."""
        return self.enabled and not self.offline

    @field_validator("experiment")
    @classmethod
    def _no_blank_edges(cls, name: str) -> str:
        if name != name.strip():
            raise ValueError("must not begin or end with a blank")
        return name
