"""The tracker interface. All methods return immediately and never block training; only `finish` waits, for a bounded time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from masklab.tracking.metrics import FINAL_LOSS, ROLLBACKS, SKIPPED_STEPS, STAGE, TRAIN_LOSS

Status = Literal["FINISHED", "FAILED", "KILLED"]
STOPPING_SECONDS = 2.0
"""How long a process that was asked to stop keeps sending. The rest stays in the spool and can be sent later."""
EVENT_METRICS = (TRAIN_LOSS, STAGE, FINAL_LOSS, SKIPPED_STEPS, ROLLBACKS)
"""One metric of each kind of event, in the order of the fields of LoggedSteps."""


@dataclass(frozen=True)
class LoggedSteps:
    """The last logged iteration of each kind of event; -1 for none. A resumed run does not log these again."""

    training: int = -1
    evaluation: int = -1
    final: int = -1
    skips: int = -1
    rollbacks: int = -1

    @classmethod
    def of(cls, steps: Mapping[str, int]) -> LoggedSteps:
        return cls(*(steps.get(name, -1) for name in EVENT_METRICS))


class Tracker(Protocol):
    """Logs the metrics, files, texts, description and status of one run."""

    @property
    def logged(self) -> LoggedSteps:
        """The steps that earlier parts of the run have logged."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values at the iteration `step`."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Log a file of the run's folder, or all files of a folder in it, under the artifact folder `folder`."""

    def log_text(self, text: str, name: str) -> None:
        """Log `text` as the artifact `name`, which may contain slashes."""

    def describe(self, markdown: str) -> None:
        """Replace the run's description."""

    def set_status(self, status: Status) -> None:
        """Set the run's final status before `finish`."""

    def finish(self, status: Status | None = None, seconds: float | None = None) -> None:
        """Set the run's status if one is given, and send the rest for at most `seconds` (default: the tracker's own limit)."""


class NullTracker:
    logged = LoggedSteps()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...
    def log_artifact(self, path: Path, folder: str = "") -> None: ...
    def log_text(self, text: str, name: str) -> None: ...
    def describe(self, markdown: str) -> None: ...
    def set_status(self, status: Status) -> None: ...
    def finish(self, status: Status | None = None, seconds: float | None = None) -> None: ...
