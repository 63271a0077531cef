"""Watching a generation: keeping what is seen, and letting several watch at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from masklab.sampling.generation import Watcher
from masklab.sampling.trace import Snapshot, Trace


class TraceRecorder:
    """A watcher that keeps every snapshot."""

    def __init__(self) -> None:
        self._snapshots: list[Snapshot] = []

    def __call__(self, snapshot: Snapshot) -> None:
        """Keep it."""
        self._snapshots.append(snapshot)

    def trace(self, given: NDArray[np.bool_], mask_id: int) -> Trace:
        """What was seen so far, of texts whose prompt is `given`: (B, T), or (T,) for all alike."""
        assert self._snapshots, "nothing was watched yet"
        return Trace(np.broadcast_to(given, self._snapshots[0].tokens.shape), mask_id, tuple(self._snapshots))


def together(*watchers: Watcher) -> Watcher:
    """A watcher that shows each snapshot to all of `watchers`, in their order."""

    def watch(snapshot: Snapshot) -> None:
        for watcher in watchers:
            watcher(snapshot)

    return watch
