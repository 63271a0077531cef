"""Saves a run beside its training: a copy of its state is taken in between two steps, and a thread writes it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from masklab.training.checkpoint.snapshot import Snapshot
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.events import CheckpointSaved

log = logging.getLogger(__name__)


class AsyncSaver:
    """At most one checkpoint is under way. What went wrong with it is raised where its end is asked for."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self._thread: threading.Thread | None = None
        self._iteration = 0
        self._outcome: Path | BaseException | None = None

    def begin(self, snapshot: Snapshot) -> None:
        """Write `snapshot`. Returns at once, unless the store is to be waited for."""
        assert self._thread is None, "one checkpoint at a time: the one before is collected first"
        self._iteration, self._outcome = snapshot.iteration, None
        # no daemon: a process that ends by itself waits for its last checkpoint
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name=f"checkpoint {snapshot.iteration}")
        self._thread.start()
        if not self.store.beside:
            self._thread.join()

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._outcome = self.store.write(snapshot)
        except BaseException as error:
            self._outcome = error

    def collect(self, wait: bool = False) -> CheckpointSaved | None:
        """The checkpoint that has been committed since the last call, if any. Raises what its writing raised."""
        if self._thread is None or (self._thread.is_alive() and not wait):
            return None
        self._thread.join()
        self._thread, outcome = None, self._outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None, "a thread that has ended leaves a path or an error"
        return CheckpointSaved(self._iteration, outcome)

    def close(self) -> None:
        """Wait for what is under way, where the run ends for another reason, which stands."""
        try:
            self.collect(wait=True)
        except Exception as error:
            log.warning("%s", error)
