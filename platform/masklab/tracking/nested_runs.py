"""The MLflow runs of a comparison: a parent, and beneath it a child for each of its runs.

The driver makes and ends them all, one after another, since MLflow's tables are not made by two processes at a time. A child that
cannot be made or ended is told of once and done without: its run's folder is whole either way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from masklab.errors import TrackingError
from masklab.tracking.mlflow_run import RunHandle, end_run, resume_run, start_run
from masklab.tracking.store import Store
from masklab.tracking.tracker import Status
from masklab.training.run_folder import RunFolder

_log = logging.getLogger(__name__)
PARENT_TAG = "mlflow.parentRunId"
RUN_ID = "mlflow_run_id"


@dataclass
class NestedRuns:
    """The children of the run `parent` in `experiment`. `failures` counts what the store refused."""

    store: Store
    experiment: str
    parent: RunHandle
    failures: int = field(default=0, init=False)

    def child(self, folder: RunFolder, name: str, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> RunHandle | None:
        """The child of the run in `folder`, made or found again; None where the store fails."""
        try:
            if known := folder.memory().get(RUN_ID):
                return resume_run(self.store, str(known))
            linked = {PARENT_TAG: self.parent.run_id, **tags}
            handle = start_run(self.store, self.experiment, run_name=name, params=params, tags=linked, description=description)
        except TrackingError as error:
            self._failed(f"{name} is trained without MLflow: {error}")
            return None
        folder.remember(**{RUN_ID: handle.run_id})
        return handle

    def end(self, handle: RunHandle | None, status: Status) -> None:
        """Set a run's final status."""
        try:
            if handle:
                end_run(handle, status)
        except TrackingError as error:
            self._failed(f"the status {status} could not be stored: {error}")

    def _failed(self, words: str) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.warning(words)
