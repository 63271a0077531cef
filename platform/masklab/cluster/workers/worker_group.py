"""The workers of one run under Ray Train: they are started, observed and stopped from the process that asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import PlacementGroupID
from ray.exceptions import RayError, RayTaskError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group

from masklab.cluster.connection import Share
from masklab.cluster.workers.events import EventConsumer, StopSignal, open_channel
from masklab.cluster.workers.worker import WorkerSpec, train_worker
from masklab.errors import ResourceError, UserError
from masklab.io.atomic_file import write_text
from masklab.training.events import Event, RunStarted, RunStopped
from masklab.training.folder_lock import at_work
from masklab.training.stop import StopRequest


class Trainer(TorchTrainer):  # type: ignore[misc]
    """A TorchTrainer whose workers start some seconds sooner, because two actors of Train are left out.

    One releases the workers' resources should the controller die while the driver lives on; our driver ends with its controller, and
    Ray releases a job's resources when its driver ends. The other serves Ray datasets, which we do not use. Each takes seconds to start
    and then processor time from the run. A version of Ray without this hook ignores the method.
    """

    unused = ("PlacementGroupCleanerCallback", "DatasetsCallback")

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ not in self.unused]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Register no handler: Ray's would end the driver with exit status 0 after Ctrl-C."""


PLACE = "placement_group"
"""The file in a run's folder that names the placement group of its workers, as long as they hold one."""
GRACE = 30.0
"""Default number of seconds that workers have for their last step and their checkpoint."""
LEAVING_SECONDS = 1.0
"""Seconds for which a stopping driver waits for workers that have saved: metrics that are still unsent can be sent later."""
UNHEARD = "the driver stopped consuming worker events"
"""The reason for stopping workers whose events cannot be handled: they would train without a record of it."""


class WorkerGroup:
    """One start of a run's workers, with two threads of this process: one waits for Ray Train, one consumes the events."""

    def __init__(self, spec: WorkerSpec, share: Share, folder: Path, handle: Callable[[Event], None]) -> None:
        self.handle = handle
        self.channel = open_channel()
        self.started = False
        self.stopped: RunStopped | None = None
        self.stopped_at = 0.0
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.consumer = EventConsumer(self.channel, self._see)
        self.trainer = Trainer(
            _work,
            train_loop_config={"spec": replace(spec, channel=self.channel)},
            scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=bool(share.gpus), resources_per_worker=share.resources()),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=0, controller_failure_limit=0)
            ),
        )
        # in a thread, so that the main thread handles a signal at once and not when Ray next polls
        threading.Thread(target=self._fit, name="masklab-train", daemon=True).start()

    def ask(self, reason: str) -> None:
        """Ask the workers to save at the end of their step, and to end."""
        with suppress(RayError):
            self.channel.ask_to_stop.remote(StopSignal(reason))

    def abort(self) -> None:
        """Ask the workers to exit at once, and handle the events that have arrived; errors are ignored."""
        with suppress(RayError):
            self.channel.ask_to_stop.remote(StopSignal("aborted", at_once=True))
        self.consumer.abandon()

    def close(self) -> RunStopped | None:
        """Consume the remaining events. Raises what a worker or `handle` raised."""
        if self.error is None:
            self.consumer.close()
            return self.stopped
        self.consumer.abandon()
        cause = cause_of(self.error)
        if cause is not self.error:
            raise cause from self.error
        raise self.error

    def _fit(self) -> None:
        try:
            self.trainer.fit()
        except BaseException as error:
            self.error = error
        finally:
            self.over.set()

    def _see(self, event: Event) -> None:
        self.started = self.started or isinstance(event, RunStarted)
        self.handle(event)
        if isinstance(event, RunStopped):
            self.stopped, self.stopped_at = event, time.monotonic()


def run_workers(
    spec: WorkerSpec,
    share: Share,
    folder: Path,
    handle: Callable[[Event], None],
    request: StopRequest | None = None,
    grace: float = GRACE,
    look: Callable[[], str | None] = lambda: None,
) -> RunStopped | None:
    """Train `spec` in workers that take `share` each, and call `handle` with each event, in order, in a thread of this process.

    Ray keeps its own files in `folder`. A `request`, or a reason that `look` returns (it is called ten times a second), stops the workers
    after a whole step, which is saved; the RunStopped event is then returned. Raises what a worker raised; what `handle` raised, once the
    workers have saved; and KeyboardInterrupt where the request leaves nothing to wait for or the workers take more than `grace` seconds.
    """
    request = request or StopRequest()
    group = WorkerGroup(spec, share, folder, handle)
    asked_at: float | None = None
    try:
        while not group.over.wait(0.1):
            failure = group.consumer.failure
            reason = request.reason or (UNHEARD if failure else look() if asked_at is None else None)
            if reason and asked_at is None:
                group.ask(reason)
                asked_at = time.monotonic()
            if failure and time.monotonic() - (asked_at or 0) > grace:
                raise failure
            if request.reason and group.stopped and time.monotonic() - group.stopped_at > LEAVING_SECONDS:
                group.abort()
                return group.stopped
            if request.reason and not group.stopped and (not group.started or time.monotonic() - (asked_at or 0) > grace):
                raise KeyboardInterrupt
        stopped = group.close()
    except BaseException:
        group.abort()
        raise
    (folder / PLACE).unlink(missing_ok=True)
    return stopped


def _work(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Call the training function while holding the lock of the run's folder."""
    folder: Path = arguments["spec"].checkpoints.parent
    with at_work(folder):
        place = get_current_placement_group()
        if place is not None and ray.train.get_context().get_world_rank() == 0:
            write_text(folder / PLACE, place.id.hex())
        return train_worker(arguments)


def release(folder: Path) -> None:
    """Release the cores and GPUs of the workers that trained in `folder`, if the process that reserved them died before it could.

    Ray releases them only once both that process and its job are gone, and a sweep's job lives on.
    """
    file = folder / PLACE
    if file.exists():
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(file.read_text()))))
        file.unlink()


def cause_of(error: BaseException) -> BaseException:
    """The cause of the workers' failure: a user's mistake if there is one, else a dead process, else the first worker's error."""
    found = list(_beneath(error))
    mistakes = (each for each in found if isinstance(each, UserError))
    deaths = (each for each in found if type(each).__module__.startswith("ray.exceptions"))
    return next(mistakes, None) or next(deaths, None) or next(iter(found), error)


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """The errors beneath Ray's own wrapping errors."""
    if type(getattr(error, "controller_failure", None)).__name__ == "WorkerGroupStartupTimeoutError":
        yield ResourceError("the cluster had no room for this run's workers within a minute; wait for other jobs, or ask for less")
        return
    inner: list[Any] = list(getattr(error, "worker_failures", {}).values())
    if not inner and (isinstance(error, RayTaskError) or type(error).__module__.startswith("ray.train")):
        inner = [getattr(error, name, None) for name in ("health_check_failure", "controller_failure", "__cause__", "cause")]
    inner = [each for each in inner if isinstance(each, BaseException)]
    if isinstance(error, UserError) or not inner:
        yield error
    else:
        for each in inner:
            yield from _beneath(each)
