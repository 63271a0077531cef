"""Keeps the workers of a run going: those that are lost are started again, and where the run allows it, fewer or more of them.

Whatever happens, the run goes on from its newest checkpoint with the batches that it would have had anyway. A mistake of the user's, or
an error of the loop's own, is never tried again.
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
"""Why workers are stopped that are to become more."""
ROOM_SECONDS = 20.0
"""How long Ray has to find room for workers: by then it knows of a node that is gone."""
LOST = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)
BROKEN_CONNECTION = ("gloo/transport", "Connection closed by peer", "NCCL", "Connection reset by peer")
"""How a worker's own error reads when another one that it was to meet is gone."""


def is_loss(error: BaseException) -> bool:
    """Whether `error` tells of a process that is gone, or of another that has lost touch with it, rather than of a mistake."""
    if isinstance(error, LOST):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in BROKEN_CONNECTION)


@dataclass
class Supervisor:
    """The workers of one run. `share` is what each of them takes at first; `handle` is given each event, in order."""

    spec: WorkerSpec
    scaling: ScalingSettings
    share: Share
    folder: Path
    handle: Callable[[Event], None]
    request: StopRequest
    _losses: int = 0
    _lost_at: int = -1
    _look_at: float = field(default_factory=time.monotonic)
    _larger: Share | None = None

    def run(self) -> RunStopped | None:
        """Train until the run is finished or asked to stop. Raises what no start can help, and RunError after too many in vain."""
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
        """Count a loss. Raises RunError when there were too many without a checkpoint between."""
        reached = iteration_reached(self.spec.checkpoints)
        self._losses = self._losses + 1 if reached == self._lost_at else 1
        self._lost_at = reached
        if self.request.reason:
            raise KeyboardInterrupt from error
        if self._losses > self.scaling.max_failures:
            raise RunError(
                f"run '{self.folder.name}': its workers were lost {self._losses} times in a row at iteration {reached} "
                f"({first_line(error)}); the same command goes on from there once the reason is found "
                "(see scaling.max_failures, scaling.ray_logs)"
            ) from error

    def _replace(self, share: Share, reason: str) -> None:
        """Have the next start use `share`, once the workers of the last one are gone."""
        wait_until_left(self.folder)
        self.share, self._larger, self._look_at = share, None, time.monotonic()
        self.spec = replace(self.spec, threads=share.cpus, use_gpu=bool(share.gpus))
        self.handle(WorkersReplaced(iteration_reached(self.spec.checkpoints), share.workers, reason))

    def _fitting(self) -> Share:
        """As many workers of the same size as there is room for now. Raises ResourceError where there are fewer than will do.

        What is free is Ray's to say: a node that is gone, or about to be, may still be listed.
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
                raise ResourceError(f"{problem} (run '{self.folder.name}' has lost workers, and goes on by the same command)")

    @property
    def _of_the_same_size(self) -> ScalingSettings:
        """The settings with what each worker takes held fast."""
        return self.scaling.model_copy(update={"cpus_per_worker": self.share.cpus, "use_gpu": bool(self.share.gpus)})

    def _look(self) -> str | None:
        """Why the workers are to be stopped and started again: because more of them fit. Asks the cluster now and then."""
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
    """Whether Ray finds room for `workers` more workers of `share` within `patience` seconds; it is given back at once."""
    place = placement_group([share.resources()] * workers, strategy="PACK")
    try:
        return bool(place.wait(patience))
    finally:
        remove_placement_group(place)
