"""The connection to Ray, to the cluster at RAY_ADDRESS or a local one, and the shares of the cluster that workers take."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from masklab.config.jobs.train import Config
from masklab.errors import ResourceError, first_line
from masklab.training.settings import ScalingSettings
from masklab.training.stop import terminating_as_interrupt

RAY_SETTINGS = {
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon the end of workers is noticed, and the death of one
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment variables of Ray's processes. Values set by the user win."""

LOCAL_SETTINGS = {
    # prestarted workers are of no use to Train's actors, which have an environment of their own
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_task_events_report_interval_ms": "0",  # a cluster without a dashboard shows no task states
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",  # Ray's default of 15 starves the run beside any other computation
}
"""The same for a local cluster."""


def connect(source_root: Path, ray_logs: bool) -> bool:
    """Connect to the cluster at RAY_ADDRESS (set in a submitted job), or start a local one.

    `source_root`, the folder that holds the package, is sent along, so the workers need not have masklab installed. Returns False,
    without doing anything, when this process is connected already.
    """
    address = os.environ.get("RAY_ADDRESS")
    for name, value in (RAY_SETTINGS if address else RAY_SETTINGS | LOCAL_SETTINGS).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return False
    common: dict[str, Any] = {"log_to_driver": ray_logs, "logging_level": logging.WARNING if ray_logs else logging.ERROR}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not address:
            # inherited by every process of the cluster; a runtime environment would have to be set up for each of them
            os.environ["PYTHONPATH"] = os.pathsep.join([str(source_root), *filter(None, [os.environ.get("PYTHONPATH")])])
            print("starting Ray on this machine", flush=True)  # which takes seconds, many on a busy machine
            try:
                ray.init(address="local", include_dashboard=False, **common)
            except Exception as error:  # Ray raises a bare Exception when its processes do not start in time
                reason = first_line(error)
                raise ResourceError(
                    f"a local Ray cluster could not be started ({reason}); try again when the machine is less busy"
                ) from error
            return True
        runtime = {"py_modules": [str(source_root / "masklab")], "env_vars": {name: os.environ[name] for name in RAY_SETTINGS}}
        try:
            _knock(address)
            ray.init(address=address, runtime_env=runtime, **common)
        except (OSError, RuntimeError, ValueError) as error:
            reason = first_line(error)
            raise ResourceError(
                f"no Ray cluster at RAY_ADDRESS={address} ({reason}); start it, or unset RAY_ADDRESS for a local one"
            ) from error
    return True


def _knock(address: str, seconds: float = 5.0) -> None:
    """Raise OSError if nothing listens at `host:port` or `ray://host:port`. Ray would retry for minutes and ignore signals meanwhile."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal() and int(port) < 2**16:  # else Ray resolves it, as for `auto`
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


@contextmanager
def connected(source_root: Path, ray_logs: bool) -> Iterator[None]:
    """Connect, and shut a local cluster down at the end. SIGTERM ends the block as Ctrl-C does."""
    is_ours = connect(source_root, ray_logs)
    import ray

    with terminating_as_interrupt():  # after Ray has started, since it installs a handler of its own
        try:
            yield
        finally:
            if is_ours:
                ray.shutdown()


@dataclass(frozen=True)
class Share:
    """Each training worker's share of the cluster."""

    workers: int
    cpus: int
    gpus: int

    def resources(self) -> dict[str, float]:
        """The share as a Ray resource dictionary."""
        return {"CPU": float(self.cpus)} | ({"GPU": float(self.gpus)} if self.gpus else {})


def share_of(scaling: ScalingSettings, nodes: Sequence[Mapping[str, float]]) -> Share:
    """Each worker's share of a cluster whose `nodes` have these resources; a worker must fit on one node.

    Raises ResourceError, with the numbers, when the cluster is too small.
    """
    workers = scaling.most
    cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    use_gpu = room(nodes, 1, 1) >= workers if scaling.use_gpu is None else scaling.use_gpu
    if use_gpu and gpus < workers:
        raise ResourceError(
            f"scaling.num_workers={workers} with scaling.use_gpu=true needs {workers} GPU(s), but the cluster has {gpus}; "
            "ask for fewer workers or set scaling.use_gpu=false"
        )
    fitting = (each for each in range(max(1, cpus // workers), 0, -1) if room(nodes, each, int(use_gpu)) >= workers)
    each = scaling.cpus_per_worker or next(fitting, 1)
    if room(nodes, each, int(use_gpu)) < workers:
        largest = int(max((node.get("CPU", 0) for node in nodes), default=0))
        raise ResourceError(
            f"scaling.num_workers={workers} with {each} CPU core(s) each needs {workers * each}, but the cluster has {cpus} "
            f"(at most {largest} on one node); ask for fewer workers or a smaller scaling.cpus_per_worker"
        )
    return Share(workers, each, int(use_gpu))


def share_among(scaling: ScalingSettings, nodes: Sequence[Mapping[str, float]], rows: int) -> Share:
    """`share_of` for the largest number of workers that fits on the nodes and splits `rows` sequences evenly.

    Raises ResourceError, with the numbers, when not even the smallest number fits.
    """
    if scaling.use_gpu is None and scaling.is_elastic:  # prefer few workers with GPUs to many without
        scaling = scaling.model_copy(update={"use_gpu": room(nodes, 1, 1) >= scaling.fewest})
    *larger, smallest = scaling.sizes(rows)
    for workers in larger:
        with suppress(ResourceError):
            return share_of(scaling.model_copy(update={"num_workers": workers}), nodes)
    return share_of(scaling.model_copy(update={"num_workers": smallest}), nodes)


def share_for(config: Config, default_cpus: int | None = None) -> Share:
    """Each worker's share of the connected cluster: `scaling.cpus_per_worker`, else `default_cpus`, else an even part of all cores.

    Raises ResourceError when the cluster cannot do what `config` asks.
    """
    system = config.system
    scaling = config.scaling.model_copy(update={"cpus_per_worker": config.scaling.cpus_per_worker or default_cpus})
    if scaling.use_gpu is None and system.device != "auto":
        scaling = scaling.model_copy(update={"use_gpu": system.device == "cuda"})
    share = share_among(scaling, nodes_of_the_cluster(), config.training.rows_per_step)
    if not share.gpus and system.dtype == "float16" and system.device in ("auto", "cpu"):
        raise ResourceError("system.dtype=float16 needs a GPU, and the workers of this run have none; use float32 or bfloat16")
    return share


def room(nodes: Sequence[Mapping[str, float]], cpus: int, gpus: int) -> int:
    """How many workers with `cpus` cores and `gpus` GPUs each the nodes hold."""
    return sum(min(int(node.get("CPU", 0)) // cpus, int(node.get("GPU", 0)) // gpus if gpus else int(node.get("CPU", 0))) for node in nodes)


def put(value: Any) -> Any:
    """A reference to `value` in the object store. Raises ResourceError when that has no room for it."""
    import ray
    from ray.exceptions import ObjectStoreFullError, OutOfDiskError

    try:
        return ray.put(value)
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise ResourceError(
            f"Ray's object store has no room for the text and the pools ({type(error).__name__}); give it more (object_store_memory of "
            "ray start), free its disk, or use a shorter text"
        ) from error


def nodes_of_the_cluster() -> list[dict[str, float]]:
    """The resources of each living node of the connected cluster."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
