"""What a run needs of a tracker: six verbs, none of which may hold training up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """Where a run's figures and files go."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep configuration values; nested mappings become dotted names."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep figures at the iteration `step`."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file, or all files of a folder, under `folder`. It must stay in place until `finish`."""

    def log_text(self, text: str, name: str) -> None:
        """Keep `text` as the file `name`, which may hold slashes."""

    def describe(self, markdown: str) -> None:
        """Replace the run's description."""

    def finish(self, status: Status | None = None) -> None:
        """Write out what is still waiting, within a time limit, and set the run's final status unless another process does."""


class NullTracker:
    """Keeps nothing."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Nothing."""

    def log_text(self, text: str, name: str) -> None:
        """Nothing."""

    def describe(self, markdown: str) -> None:
        """Nothing."""

    def finish(self, status: Status | None = None) -> None:
        """Nothing."""
