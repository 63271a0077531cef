"""One Ray Train worker: it builds the training loop and runs it; rank 0 sends the loop's events to the driver."""

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

from masklab.cluster.connection import Share
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
from masklab.training.run_folder import RunFolder
from masklab.training.settings import BatchSettings
from masklab.training.stop import StopRequest


@dataclass(frozen=True)
class WorkerSpec:
    """A run as its workers receive it. `corpus` and `pools` hold one reference each into the object store.

    They are lists, since Ray replaces a reference that is an argument of its own by its value.
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
    tracking: RunHandle | None
    saves_beside: bool = True
    """Whether the loop continues while a checkpoint is written."""
    channel: Any = None
    """The EventChannel between rank 0 and the driver; None while there are no workers."""

    @classmethod
    def of(
        cls,
        run: str,
        config: Config,
        share: Share,
        folder: RunFolder,
        data: Corpus,
        corpus: list[Any],
        pools: list[Any],
        tracking: RunHandle | None,
    ) -> WorkerSpec:
        """The run `run` of `config` in `folder`, on `data`, which `corpus` refers to, by workers that take `share` each."""
        return cls(
            run=run,
            recipe=config.recipe,
            batches=config.batches,
            threads=share.cpus,
            use_gpu=bool(share.gpus),
            checkpoints=folder.checkpoints,
            documents=_documents(config, data),
            corpus=corpus,
            pools=pools,
            tracking=tracking,
        )


def _documents(config: Config, corpus: Corpus) -> dict[str, str]:
    """The files that each checkpoint holds beside its state, so that its weights can be used: name -> text."""
    documents = {
        "config.yaml": dump(config),
        "vocabulary.json": json.dumps(corpus.vocabulary.to_json()),
        "corpus.json": json.dumps({"fingerprint": corpus.fingerprint}),
    }
    return documents | ({"labels.json": json.dumps(corpus.labels.to_json())} if corpus.labels else {})


STORE_SECONDS = 300.0
"""How long a worker waits for the corpus and the pools, which may be on another node or spilled to disk."""


def set_up_torch(threads: int) -> None:
    """Have torch compute in this process with `threads` threads that flush denormal numbers to zero."""
    torch.set_flush_denormal(True)  # applies to threads that are started later, so it comes first
    torch.set_num_threads(threads)


def train_worker(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """Ray Train's training function; `arguments["spec"]` is the WorkerSpec.

    Rank 0 of a finished run returns its iteration, its digest of batches, and how many batches the worker made itself.
    """
    spec: WorkerSpec = arguments["spec"]
    set_up_torch(spec.threads)
    context = ray.train.get_context()
    request = StopRequest()
    listen_for_stops(spec.channel, request)
    loop = build_loop(spec, context.get_world_rank(), context.get_world_size(), request=request)
    if loop.ranks.rank > 0:
        for _ in loop.run():
            pass
        return None
    tracker: Tracker = MlflowTracker(spec.tracking, "worker") if spec.tracking else NullTracker()
    metrics = MetricsLog(tracker)
    finished, posted = None, None
    try:
        for event in loop.run():
            metrics.handle(event)
            posted = spec.channel.post.remote(event)
            finished = event if isinstance(event, RunFinished | RunStopped) else None
    finally:
        if posted is not None:  # events arrive in order, so once the last one has arrived all have
            with contextlib.suppress(RayError, GetTimeoutError):
                ray.get(posted, timeout=30)
        tracker.finish()
    assert finished is not None, "a loop ends with RunFinished or RunStopped"
    if isinstance(finished, RunStopped):
        return None
    made_here = getattr(loop.source, "made_here", 0)
    return {"iteration": finished.iteration, "batches_digest": finished.batches_digest, "batches_made_by_worker": made_here}


def build_loop(spec: WorkerSpec, rank: int, size: int, device: torch.device | None = None, request: StopRequest | None = None) -> Loop:
    """Build the loop of `rank` out of `size`. Setting `request` stops the loop.

    `device` defaults to that of the Ray Train worker. Raises ResourceError when the object store does not deliver the data.
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
    """Fetch an object that the driver has put into the object store. Raises ResourceError after STORE_SECONDS."""
    try:
        return ray.get(reference, timeout=STORE_SECONDS)
    except (GetTimeoutError, ObjectLostError) as error:
        raise ResourceError(
            f"Ray could not deliver the corpus or the pools within {STORE_SECONDS:.0f} s ({type(error).__name__}); the same command "
            "resumes from the newest checkpoint"
        ) from error


def _device(spec: WorkerSpec, size: int) -> torch.device:
    """The device of this worker: the GPU that Ray granted, and no other, since other GPUs belong to other jobs."""
    if spec.use_gpu:
        granted: torch.device = ray.train.torch.get_device()
        return granted
    name = spec.recipe.system.device
    if name == "auto":
        name = "mps" if size == 1 and torch.backends.mps.is_available() else "cpu"
    return pick_device(name)
