"""One Ray Train worker: builds the loop, runs it, and on rank 0 passes its events on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError

from masklab.cluster.workers.batch_producer import PullWindow, producer_on_this_node
from masklab.cluster.workers.events import listen_for_stops
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.train import Config
from masklab.errors import ResourceError
from masklab.reporting.run.reporter import MetricsLog
from masklab.text.preparation import Corpus
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.tracker import NullTracker, Tracker
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import BatchSource, LocalSource
from masklab.training.events import RunFinished, RunStopped
from masklab.training.loop import Loop
from masklab.training.precision import Precision, pick_device
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker
from masklab.training.settings import BatchSettings
from masklab.training.stop import StopRequest


@dataclass(frozen=True)
class WorkerSpec:
    """One run as its workers get it. `corpus` and `pools` are references into the object store, put there by the driver.

    They stand in lists, since Ray replaces a reference that is an argument of its own by its value.
    """

    run: str
    recipe: Recipe
    batches: BatchSettings
    threads: int
    use_gpu: bool
    checkpoints: Path
    documents: Mapping[str, str]
    corpus: list[Any]
    pools: list[Any]
    relay: Any
    tracking: RunHandle | None
    saves_beside: bool = True
    """Whether the loop goes on while a checkpoint is written."""


def documents_of(config: Config, corpus: Corpus) -> dict[str, str]:
    """What each checkpoint of a run holds beside its state, by file name: all that is needed to use its weights."""
    documents = {
        "config.yaml": dump(config),
        "vocabulary.json": json.dumps(corpus.vocabulary.to_json()),
        "corpus.json": json.dumps({"fingerprint": corpus.fingerprint}),
    }
    return documents | ({"labels.json": json.dumps(corpus.labels.to_json())} if corpus.labels else {})


STORE_SECONDS = 300.0
"""How long a worker waits for the corpus and the pools, which may have to come from another node or back from disk."""


def train_worker(handed: dict[str, Any]) -> dict[str, Any] | None:
    """Ray Train's training function; `handed` holds the WorkerSpec. Of a finished run rank 0 returns hash and length."""
    spec: WorkerSpec = handed["spec"]
    torch.set_flush_denormal(True)  # holds for the threads that this one starts, so it comes first
    torch.set_num_threads(spec.threads)
    context = ray.train.get_context()
    request = StopRequest()
    listen_for_stops(spec.relay, request)
    loop = build_loop(spec, context.get_world_rank(), context.get_world_size(), request=request)
    if loop.ranks.rank > 0:
        for _ in loop.run():
            pass
        return None
    tracker: Tracker = NullTracker()
    if spec.tracking:
        tracker = MlflowTracker(spec.tracking, "worker")
    figures = MetricsLog(tracker)
    finished, posted = None, None
    try:
        for event in loop.run():
            figures.handle(event)
            posted = spec.relay.post.remote(event)
            finished = event if isinstance(event, RunFinished | RunStopped) else None
    finally:
        if posted is not None:  # events keep their order, so with the last one all have arrived
            with contextlib.suppress(RayError, GetTimeoutError):
                ray.get(posted, timeout=30)
        tracker.finish()
    assert finished is not None, "a loop ends with RunFinished or RunStopped"
    if isinstance(finished, RunStopped):
        return None
    made_here = getattr(loop.source, "made_here", 0)
    return {"iteration": finished.iteration, "batches_digest": finished.batches_digest, "batches_made_by_worker": made_here}


def build_loop(spec: WorkerSpec, rank: int, size: int, device: torch.device | None = None, request: StopRequest | None = None) -> Loop:
    """The loop of rank `rank` out of `size`, on the data that `spec` gives it, until `request` is made.

    Its `device` is that of a worker of Ray Train when not given. Raises ResourceError when the data do not come.
    """
    recipe = spec.recipe
    corpus, pools = from_the_store(spec.corpus[0]), from_the_store(spec.pools[0])
    device = device or _device(spec, size)
    ranks = Ranks(rank, size, device if device.type == "cuda" else torch.device("cpu"))
    first, last = ranks.part(recipe.training.rows_per_step)
    local = LocalSource(recipe.batch_maker(corpus), first, last)
    source: BatchSource = local
    if spec.batches.producer:
        source = PullWindow(partial(producer_on_this_node, spec.run, recipe, spec.corpus[0]), local, spec.batches)
    worker = Worker(
        recipe,
        corpus.vocabulary,
        Precision.of(recipe.system, device),
        corpus.labels,
        ranks,
        wrap=(lambda module: module) if size == 1 else partial(ray.train.torch.prepare_model, move_to_device=device),
    )
    store = CheckpointStore(spec.checkpoints, spec.documents, beside=spec.saves_beside)
    return Loop(worker, pools, source, store, request)


def from_the_store(reference: Any) -> Any:
    """What the driver has put there. Raises ResourceError when it does not come."""
    try:
        return ray.get(reference, timeout=STORE_SECONDS)
    except (GetTimeoutError, ObjectLostError) as error:
        raise ResourceError(
            f"the run's text or pools cannot be had from Ray's object store ({type(error).__name__}); the same command goes on from the "
            "newest checkpoint"
        ) from error


def _device(spec: WorkerSpec, size: int) -> torch.device:
    """The device of this worker: the GPU that Ray granted, and no other, since that would be another job's."""
    if spec.use_gpu:
        granted: torch.device = ray.train.torch.get_device()
        return granted
    name = spec.recipe.system.device
    if name == "auto":
        name = "mps" if size == 1 and torch.backends.mps.is_available() else "cpu"
    return pick_device(name)
