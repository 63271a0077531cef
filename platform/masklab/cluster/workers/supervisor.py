"""Restarts a run's workers after a loss, and in an elastic run when the cluster shrinks or grows, then with fewer or more of them.

The run always resumes from its newest checkpoint, with the batches that it would have had anyway. A user's mistake or an error of the
loop itself is never retried.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError
from ray.util.placement_group import placement_group, remove_placement_group

from masklab.cluster.connection import Share, nodes_of_the_cluster, share_among
from masklab.cluster.workers.events import PREEMPTION
from masklab.cluster.workers.worker import WorkerSpec
from masklab.cluster.workers.worker_group import run_workers
from masklab.errors import ResourceError, RunError, first_line
from masklab.training.checkpoint.store import iteration_reached
from masklab.training.events import Event, RunStopped, WorkersReplaced
from masklab.training.folder_lock import wait_until_left
from masklab.training.settings import ScalingSettings
from masklab.training.stop import StopRequest

log = logging.getLogger(__name__)

MORE_ROOM = "there is room for more workers"
"""The reason for stopping workers in order to restart more of them."""
ROOM_SECONDS = 20.0
"""How long Ray has to find room for workers; by then it has noticed a lost node."""
LOST = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
BROKEN_CONNECTION = ("gloo/transport", "Connection closed by peer", "NCCL", "Connection reset by peer")
"""Parts of a worker's error message when its peer is gone."""


def is_loss(error: BaseException) -> bool:
    """Whether `error` means that a process is gone, or that another has lost its connection to it."""
    if isinstance(error, LOST):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in BROKEN_CONNECTION)


@dataclass
class Supervisor:
    """Runs the workers of one run, which first take `share` each. `handle` is called with each event, in order."""

    spec: WorkerSpec
    scaling: ScalingSettings
    share: Share
    folder: Path
    handle: Callable[[Event], None]
    request: StopRequest
    _losses: int = field(default=0, init=False)
    _lost_at: int = field(default=-1, init=False)
    _look_at: float = field(default_factory=time.monotonic, init=False)
    _larger: Share | None = field(default=None, init=False)

    def run(self) -> RunStopped | None:
        """Train until the run is finished or stopped. Raises errors that a restart cannot cure, and RunError after too many losses."""
        while True:
            try:
                stopped = run_workers(self.spec, self.share, self.folder, self.handle, self.request, self.scaling.grace_seconds, self._look)
            except Exception as error:
                if not is_loss(error):
                    raise
                if (self.folder / "summary.json").is_file():  # lost after the run's last event
                    return None
                self._lost(error)
                self._replace(self._fitting(), f"a worker was lost ({type(error).__name__}), {self._losses} of {self.scaling.max_failures}")
                continue
            if stopped is None or self.request.reason:
                return stopped
            if stopped.reason == MORE_ROOM and self._larger:
                self._replace(self._larger, stopped.reason)
            elif stopped.reason == PREEMPTION and self.scaling.is_elastic:
                self._replace(self._fitting(), stopped.reason)
            else:
                return stopped

    @property
    def _rows(self) -> int:
        return self.spec.recipe.training.rows_per_step

    def _lost(self, error: Exception) -> None:
        """Count a loss. Raises RunError after too many of them without a new checkpoint."""
        reached = iteration_reached(self.spec.checkpoints)
        self._losses = self._losses + 1 if reached == self._lost_at else 1
        self._lost_at = reached
        if self.request.reason:
            raise KeyboardInterrupt from error
        if self._losses > self.scaling.max_failures:
            raise RunError(
                f"run '{self.folder.name}': its workers were lost {self._losses} times in a row at iteration {reached} "
                f"({first_line(error)}); the same command resumes from there once the reason is found "
                "(see scaling.max_failures, scaling.ray_logs)"
            ) from error

    def _replace(self, share: Share, reason: str) -> None:
        """Use `share` for the next start, and wait until the workers of the last one are gone."""
        wait_until_left(self.folder)
        self.share, self._larger, self._look_at = share, None, time.monotonic()
        self.spec = replace(self.spec, threads=share.cpus, use_gpu=bool(share.gpus))
        self.handle(WorkersReplaced(iteration_reached(self.spec.checkpoints), share.workers, reason))

    def _fitting(self) -> Share:
        """As many workers of the same size as fit now. Raises ResourceError when fewer fit than the run needs.

        Ray is asked for a placement, since a node that is lost or about to be drained may still be listed.
        """
        scaling, began = self._of_the_same_size, time.monotonic()
        while True:
            if self.request.reason:
                raise KeyboardInterrupt
            problem = f"the cluster has no room for {scaling.fewest} worker(s) with {self.share.cpus} CPU core(s) each now"
            try:
                most = share_among(scaling, nodes_of_the_cluster(), self._rows).workers
            except ResourceError as error:
                problem, most = str(error), 0
                time.sleep(1.0)
            sizes = [size for size in scaling.sizes(self._rows) if size <= most]
            for size in sizes:
                if has_room(self.share, size, ROOM_SECONDS if size == sizes[-1] else ROOM_SECONDS / 4):
                    return replace(self.share, workers=size)
            if time.monotonic() > began + 3 * ROOM_SECONDS:
                raise ResourceError(f"{problem} (run '{self.folder.name}' has lost workers; the same command resumes it)")

    @property
    def _of_the_same_size(self) -> ScalingSettings:
        return self.scaling.model_copy(update={"cpus_per_worker": self.share.cpus, "use_gpu": bool(self.share.gpus)})

    def _look(self) -> str | None:
        """MORE_ROOM when more workers would fit. Asks the cluster every `scaling.resize_seconds`."""
        if not self.scaling.is_elastic or time.monotonic() < self._look_at + self.scaling.resize_seconds:
            return None
        self._look_at = time.monotonic()
        try:
            larger = share_among(self._of_the_same_size, nodes_of_the_cluster(), self._rows)
        except ResourceError:
            return None
        more = larger.workers - self.share.workers
        if more <= 0 or not has_room(larger, more, 2.0):
            return None
        self._larger = larger
        return MORE_ROOM


def has_room(share: Share, workers: int, patience: float) -> bool:
    """Whether Ray can place `workers` more workers of `share` within `patience` seconds; the placement is released at once."""
    place = placement_group([share.resources()] * workers, strategy="PACK")
    try:
        return bool(place.wait(patience))
    finally:
        remove_placement_group(place)
