"""What a run needs of a tracker: seven verbs, none of which may hold training up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from masklab.tracking.metrics import FINAL_LOSS, ROLLBACKS, SKIPPED_STEPS, STAGE, TRAIN_LOSS

Status = Literal["FINISHED", "FAILED", "KILLED"]
STOPPING_SECONDS = 2.0
"""How long a process that was asked to stop sends what is left: all of it is kept, and can be sent later."""


EVENT_METRICS = (TRAIN_LOSS, STAGE, FINAL_LOSS, SKIPPED_STEPS, ROLLBACKS)
"""One metric of each kind of event, in the order of the fields of LoggedSteps."""


@dataclass(frozen=True)
class LoggedSteps:
    """The last iterations whose figures a tracker has from earlier parts of the run; -1 for none. `final` is that of the end."""

    training: int = -1
    evaluation: int = -1
    final: int = -1
    skips: int = -1
    rollbacks: int = -1

    @classmethod
    def of(cls, steps: Mapping[str, int]) -> LoggedSteps:
        """By the last step of each metric."""
        return cls(*(steps.get(name, -1) for name in EVENT_METRICS))


class Tracker(Protocol):
    """Where a run's figures and files go."""

    @property
    def logged(self) -> LoggedSteps:
        """What it has from earlier parts of the run."""

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Keep configuration values; nested mappings become dotted names."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep figures at the iteration `step`."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file, or all files of a folder, of the run's folder under `folder`. It stays where it is."""

    def log_text(self, text: str, name: str) -> None:
        """Keep `text` as the file `name`, which may hold slashes."""

    def describe(self, markdown: str) -> None:
        """Replace the run's description."""

    def set_status(self, status: Status) -> None:
        """Set the run's status ahead of its end."""

    def finish(self, status: Status | None = None, seconds: float | None = None) -> None:
        """Send what is still waiting, within `seconds` or the tracker's own limit, and set the run's status if one is given."""


class NullTracker:
    """Keeps nothing."""

    logged = LoggedSteps()

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

    def set_status(self, status: Status) -> None:
        """Nothing."""

    def finish(self, status: Status | None = None, seconds: float | None = None) -> None:
        """Nothing."""
