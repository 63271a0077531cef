"""The workers of one run under Ray Train: started, listened to and waited for from the process that asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import PlacementGroupID
from ray.exceptions import RayTaskError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group

from masklab.cluster.assignment import Assignment
from masklab.cluster.connection import Share
from masklab.cluster.relay import EventRelay, Listener
from masklab.cluster.train_worker import train_worker
from masklab.cluster.trainer import Trainer
from masklab.config.interruption import terminating_as_interrupt
from masklab.errors import ResourceError, UserError
from masklab.text.atomic_file import write_text
from masklab.training.events import Event
from masklab.training.folder_lock import at_work

PLACE = "placement_group"
"""The file of a run's folder that names what its workers hold of the cluster, as long as they do."""


def run_workers(assignment: Assignment, share: Share, folder: Path, handle: Callable[[Event], None]) -> None:
    """Train as `assignment` says, in workers that take `share`, and hand each event to `handle` in a thread of this process, in order.

    Ray keeps its own files in `folder`. Raises what a worker raised, or what `handle` did.
    """
    relay = EventRelay.remote()  # type: ignore[attr-defined]
    listener = Listener(relay, handle)
    trainer = Trainer(
        _work,
        train_loop_config={"assignment": replace(assignment, relay=relay)},
        scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=bool(share.gpus), resources_per_worker=share.resources()),
        run_config=RunConfig(
            name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=0, controller_failure_limit=0)
        ),
    )
    try:
        with terminating_as_interrupt():
            trainer.fit()
    except BaseException as error:
        listener.abandon()
        cause = cause_of(error)
        if cause is not error:
            raise cause from error
        raise
    listener.close()
    (folder / PLACE).unlink(missing_ok=True)


def _work(handed: dict[str, Any]) -> dict[str, Any] | None:
    """The training function, in a folder that is its own as long as the process lives."""
    folder: Path = handed["assignment"].checkpoints.parent
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
