"""The workers of one run under Ray Train: started, listened to and waited for from the process that asks for them."""

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
    """Starts its workers some seconds sooner.

    Train starts an actor that gives back the workers' resources should the controller die while the driver lives on, and one that
    hands out Ray datasets. Our driver ends with its controller, and Ray gives a job's resources back when its driver ends; our
    batches are no Ray datasets. Both actors are left out: each takes seconds to start, and then processor time from the run. A
    version of Ray that has no such hook ignores this method.
    """

    unused = ("PlacementGroupCleanerCallback", "DatasetsCallback")

    def _create_default_callbacks(self) -> list[Any]:
        callbacks: list[Any] = super()._create_default_callbacks()
        return [c for c in callbacks if type(c).__name__ not in self.unused]

    def _register_sigint_handler(self, controller: Any) -> None:
        """Ctrl-C stays Python's own, and ends the driver with its own exit status: Ray's handler would exit with 0."""


PLACE = "placement_group"
"""The file of a run's folder that names what its workers hold of the cluster, as long as they do."""
GRACE = 30.0
"""Seconds that workers have for their last step and their checkpoint, unless told otherwise."""
LEAVING_SECONDS = 1.0
"""How long workers that have saved are waited for when the driver is to end: what they still send can be sent later."""


UNHEARD = "nobody takes in what the workers tell any more"
"""The reason that they are told where their events cannot be handled: they would train on without a record of it."""


class WorkerGroup:
    """One start of a run's workers, from threads of this process: one waits for Ray Train, one takes in the events."""

    def __init__(self, spec: WorkerSpec, share: Share, folder: Path, handle: Callable[[Event], None]) -> None:
        self.handle = handle
        self.relay = open_channel()
        self.started = False
        self.stopped: RunStopped | None = None
        self.stopped_at = 0.0
        self.error: BaseException | None = None
        self.over = threading.Event()
        self.listener = EventConsumer(self.relay, self._see)
        self.trainer = Trainer(
            _work,
            train_loop_config={"spec": replace(spec, relay=self.relay)},
            scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=bool(share.gpus), resources_per_worker=share.resources()),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=0, controller_failure_limit=0)
            ),
        )
        # a signal that comes while Ray is waited for would be noticed by Ray's clock; here it is at once
        threading.Thread(target=self._fit, name="masklab-train", daemon=True).start()

    def ask(self, reason: str) -> None:
        """Have the workers save at the end of their step, and end."""
        with suppress(RayError):
            self.relay.ask_to_stop.remote(StopSignal(reason))

    def abort(self) -> None:
        """Have the workers end at once, and wait for nothing."""
        with suppress(RayError):
            self.relay.ask_to_stop.remote(StopSignal("aborted", at_once=True))

    def close(self) -> RunStopped | None:
        """Take in what is left. Raises what a worker raised, or what `handle` did."""
        if self.error is None:
            self.listener.close()
            return self.stopped
        self.listener.abandon()
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
    """Train as `spec` says, in workers that take `share`, and hand each event to `handle` in a thread of this process, in order.

    Ray keeps its own files in `folder`. A `request` stops the workers after a whole step, which is saved, and so does a reason that
    `look` gives, which is called ten times a second; what came of it is returned. Raises what a worker raised; what `handle` did, once
    the workers have saved; and KeyboardInterrupt where the request leaves nothing to wait for or they take more than `grace` seconds.
    """
    request = request or StopRequest()
    group = WorkerGroup(spec, share, folder, handle)
    asked_at: float | None = None
    try:
        while not group.over.wait(0.1):
            failure = group.listener.failure
            reason = request.reason or (UNHEARD if failure else look() if asked_at is None else None)
            if reason and asked_at is None:
                group.ask(reason)
                asked_at = time.monotonic()
            if failure and time.monotonic() - (asked_at or 0) > grace:
                raise failure
            if request.reason and group.stopped and time.monotonic() - group.stopped_at > LEAVING_SECONDS:
                group.abort()
                group.listener.abandon()
                return group.stopped
            if request.reason and not group.stopped and (not group.started or time.monotonic() - (asked_at or 0) > grace):
                raise KeyboardInterrupt
        stopped = group.close()
    except BaseException:
        group.abort()
        group.listener.abandon()
        raise
    (folder / PLACE).unlink(missing_ok=True)
    return stopped


def _work(handed: dict[str, Any]) -> dict[str, Any] | None:
    """The training function, in a folder that is its own as long as the process lives."""
    folder: Path = handed["spec"].checkpoints.parent
    with at_work(folder):
        place = get_current_placement_group()
        if place is not None and ray.train.get_context().get_world_rank() == 0:
            write_text(folder / PLACE, place.id.hex())
        return train_worker(handed)


def release(folder: Path) -> None:
    """Give back the cores and GPUs of the workers that trained in `folder`, where those that asked for them ended before they could.

    Ray gives them back once both the actor that reserved them and its job are gone, and a sweep's job goes on.
    """
    file = folder / PLACE
    if file.exists():
        remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(file.read_text()))))
        file.unlink()


def cause_of(error: BaseException) -> BaseException:
    """What made the workers fail: the user's mistake if there is one, else a process that died, else what the first of them raised."""
    found = list(_beneath(error))
    mistakes = (each for each in found if isinstance(each, UserError))
    deaths = (each for each in found if type(each).__module__.startswith("ray.exceptions"))
    return next(mistakes, None) or next(deaths, None) or next(iter(found), error)


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """What Ray's own errors were raised for, without those errors themselves."""
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
