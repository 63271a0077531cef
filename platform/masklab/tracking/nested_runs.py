"""The MLflow runs of a comparison or a sweep: a parent, and beneath it a child for each run that it trains.

The driver makes and ends them all, one after another, since MLflow's tables are not made by two processes at a time. A child that
cannot be made or ended is told of once and done without: its run's folder is whole either way.

A driver may be killed at any moment. What it was about to make is found again by a key that the folder has before MLflow does, and
what it left as going on is given its true status by the next driver.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from masklab.errors import TrackingError
from masklab.tracking.mlflow_run import (
    PARENT_TAG,
    DatasetInput,
    RunHandle,
    annotate_run,
    children_under_way,
    end_run,
    resume_run,
    start_run,
    steps_of,
)
from masklab.tracking.store import Store
from masklab.tracking.tracker import Status
from masklab.training.run_folder import RunFolder

_log = logging.getLogger(__name__)
RUN_ID, RUN_KEY = "mlflow_run_id", "mlflow_run_key"
REPORTED = "reported"
"""What the folder of a parent remembers: whether all that was found has been reported, since its driver last began."""


@dataclass
class NestedRuns:
    """The children of the run `parent` in `experiment`. `failures` counts what the store refused."""

    store: Store
    experiment: str
    parent: RunHandle
    failures: int = field(default=0, init=False)

    @classmethod
    def of(
        cls,
        store: Store,
        experiment: str,
        folder: RunFolder,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        dataset: DatasetInput,
        description: str,
    ) -> NestedRuns:
        """Those whose parent is the run in `folder`, made or found again. Raises TrackingError."""
        parent = run_in(
            folder,
            store,
            experiment,
            run_name=folder.path.name,
            params=params,
            tags=tags,
            datasets=[dataset],
            description=description,
        )
        return cls(store, experiment, parent)

    @property
    def found_by(self) -> dict[str, str]:
        """What a record keeps of the parent: its number, and how a person comes to see it."""
        return {RUN_ID: self.parent.run_id, "browse": self.store.browse(self.parent.experiment_id, self.parent.run_id)}

    def child(self, folder: RunFolder, name: str, params: Mapping[str, Any], tags: Mapping[str, str], description: str) -> RunHandle | None:
        """The child of the run in `folder`, made or found again; None where the store fails."""
        linked = {PARENT_TAG: self.parent.run_id, **tags}
        try:
            return run_in(folder, self.store, self.experiment, run_name=name, params=params, tags=linked, description=description)
        except TrackingError as error:
            self._failed(f"{name} is trained without MLflow: {error}")
        return None

    def settle(self, became: Mapping[RunFolder, str]) -> None:
        """End the children that an earlier driver left as going on, by what `became` of the runs in their folders.

        For a driver that has not begun any run yet.
        """
        try:
            under_way = children_under_way(self.store, self.parent)
            known = {folder.memory().get(RUN_ID): status_of(word) for folder, word in became.items()} if under_way else {}
            for run_id in under_way:
                end_run(RunHandle(self.store.uri, run_id, self.parent.experiment_id), known.get(run_id, "KILLED"))
        except TrackingError as error:
            self._failed(f"the runs of an earlier part keep their status: {error}")

    def end(self, handle: RunHandle | None, status: Status) -> None:
        """Set a run's final status."""
        try:
            if handle:
                end_run(handle, status)
        except TrackingError as error:
            self._failed(f"the status {status} could not be stored: {error}")

    def vary(self, handle: RunHandle | None, values: Mapping[int, Mapping[str, float | str]], lineage: str) -> None:
        """Tell a run's values from each step on, those that it does not have yet: numbers as figures; and `lineage` as a tag."""
        if handle is None:
            return
        try:
            for step, point in values.items():
                numbers = {f"values/{key}": float(value) for key, value in point.items() if not isinstance(value, str)}
                missing = {name: value for name, value in numbers.items() if step not in steps_of(handle, name)}
                annotate_run(handle, missing, step, {"lineage": lineage} if lineage else {})
        except TrackingError as error:
            self._failed(f"the values that a trial has taken over could not be stored: {error}")

    def _failed(self, words: str) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.warning(words)


@contextmanager
def ending(nested: NestedRuns | None) -> Iterator[None]:
    """End the parent when what is done within ends by an error, as KILLED where that is Ctrl-C."""
    try:
        yield
    except BaseException as error:
        if nested:
            nested.end(nested.parent, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise


def status_of(word: str) -> Status:
    """MLflow's word for what became of a run."""
    words: dict[str, Status] = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}
    return words.get(word, "KILLED")


def run_in(
    folder: RunFolder,
    store: Store,
    experiment: str,
    *,
    run_name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    datasets: Sequence[DatasetInput] = (),
    description: str,
) -> RunHandle:
    """The MLflow run of `folder`, which has begun: made, or found again, and never twice. Raises TrackingError."""
    memory = folder.memory()
    if known := memory.get(RUN_ID):
        return resume_run(store, str(known))
    key = str(memory.get(RUN_KEY) or uuid.uuid4().hex)
    folder.remember(**{RUN_KEY: key})
    handle = start_run(store, experiment, run_name=run_name, params=params, tags=tags, datasets=datasets, description=description, key=key)
    folder.remember(**{RUN_ID: handle.run_id})
    return handle
