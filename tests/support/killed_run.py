"""A tiny run in a process of its own, which ends itself by SIGKILL where it is told to, and keeps a diary of what it saw.

The processes are forked from one server that has imported everything and has one thread, so that a run takes less than a second.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from recipes import recipe
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from masklab.failpoints import listening
from masklab.reporting.run.history import History
from masklab.text.corpus import TokenCorpus
from masklab.text.vocabulary import Vocabulary
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch import Batch, BatchKey
from masklab.training.data.batch_maker import LocalSource
from masklab.training.data.validation_pools import Pools
from masklab.training.events import CheckpointSaved, EvaluationDone, Event, RunStarted, StageAdvanced, StepDone
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker
from masklab.training.settings import TransferSettings

torch.set_num_threads(1)
STEPS = 24
DROPOUT = 0.1
PATIENCE = 30.0
"""Seconds that a worker may live on when another was killed."""
STAGES = [
    {"type": "sticky", "mask_ratio": 0.2, "p_start": 0.2, "p_extend": 0.3, "max_iters": 8},
    {"type": "random", "min_ratio": 0.2, "max_ratio": 0.6, "max_iters": 8},
    {"type": "diffusion"},
]


@cache
def given(dropout: float) -> tuple[Recipe, TokenCorpus, Pools]:
    """Three stages and frozen layers up to step 10; what is logged, evaluated and saved falls on different steps, and on the same."""
    letters = np.random.default_rng(0).integers(0, 12, 4000)
    text = "".join("abcdefgh ,.\n"[i] for i in letters)
    vocabulary = Vocabulary.of_text(text)
    tokens = vocabulary.encode(text)
    corpus = TokenCorpus(tokens[:3000], tokens[3000:], vocabulary, {"source": "test"})
    plain = recipe(
        curriculum={"stages": STAGES},
        model={"n_layer": 1, "n_head": 2, "n_embd": 16, "dropout": dropout, "tied_head": False},
        training={"max_iters": STEPS, "block_size": 16, "eval_interval": 4, "log_interval": 3, "checkpoint_interval": 2},
        validation={"sequences": 4, "nelbo_sequences": 4, "final_nelbo_sequences": 4},
        sampling={"steps": 2},
    )
    made = replace(plain, transfer=TransferSettings(mode="feature_extraction", unfreeze_at_iter=10))
    return made, corpus, made.pools(corpus)


@dataclass(frozen=True)
class Kill:
    """The end of rank `rank`, at the `nth` time that it passes the point `name`."""

    name: str
    nth: int
    rank: int = 0


class Diary:
    """Lines of JSON, each written at once, so that what is in it happened before the process was killed."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, kind: str, *values: Any) -> None:
        os.write(self._descriptor, (json.dumps([kind, *values]) + "\n").encode())


class NotedSource(LocalSource):
    """Notes the digest of each batch that is taken."""

    diary: Diary

    def take(self, key: BatchKey) -> Batch:
        batch = super().take(key)
        self.diary.write("batch", key.step, [key.stage, batch.digest])
        return batch


def run(folder: Path, kill: Kill | None, rank: int, size: int, rendezvous: Path, dropout: float) -> None:
    """Begin the run of `folder`, or go on with it, until its end or its kill."""
    sys.stderr = (folder / f"errors-{rank}.txt").open("a")
    diary, passed = Diary(folder / f"diary-{rank}.jsonl"), Counter[str]()

    def listener(name: str) -> None:
        passed[name] += 1
        if name == "checkpoint.committed":
            diary.write("committed", newest_iteration(folder))
        if kill and kill.rank == rank and (name, passed[name]) == (kill.name, kill.nth):
            os.kill(os.getpid(), signal.SIGKILL)

    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size, timeout=timedelta(seconds=PATIENCE))
    with listening(listener):
        loop = loop_in(folder, diary, Ranks(rank, size), dropout)
        history = History.read(folder)
        for event in loop.run():
            _note(diary, event)
            history = history.after(event)
            if rank == 0 and isinstance(event, EvaluationDone | StageAdvanced):  # when the reporter of a run does
                history.write(folder)
    diary.write("passed", 0, dict(passed))


def loop_in(folder: Path, diary: Diary, ranks: Ranks, dropout: float = DROPOUT) -> Loop:
    """The loop of one worker of the run in `folder`."""
    made, corpus, pools = given(dropout)
    source = NotedSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step))
    object.__setattr__(source, "diary", diary)
    precision = Precision.of(made.system, torch.device("cpu"))
    store = CheckpointStore(folder / "checkpoints", {"config.yaml": "a: 1\n", "vocabulary.json": "[]"})
    wrap = DistributedDataParallel if ranks.size > 1 else (lambda module: module)
    return Loop(Worker(made, corpus.vocabulary, precision, None, ranks, wrap), pools, source, store)


def _note(diary: Diary, event: Event) -> None:
    if isinstance(event, RunStarted):
        diary.write("started", event.iteration, len(event.set_aside))
    elif isinstance(event, StepDone):
        figures = [event.loss, event.grad_norm, event.learning_rate, event.mask_ratio, event.chars, event.masked_chars, event.stage]
        diary.write("step", event.iteration, figures)
    elif isinstance(event, EvaluationDone):
        assert event.evaluation.nelbo
        figures = [event.evaluation.loss, event.evaluation.nelbo.nats, event.train_loss, event.chars, event.masked_chars]
        diary.write("evaluation", event.iteration, [*figures, event.progress.to_json(), event.reason])
    elif isinstance(event, CheckpointSaved):
        diary.write("saved", event.iteration)


def newest_iteration(folder: Path) -> int:
    """The number of the newest checkpoint by its name alone; 0 where there is none."""
    return max((int(path.name.removeprefix("step_")) for path in (folder / "checkpoints").glob("step_*")), default=0)


@dataclass(frozen=True)
class Story:
    """What all processes of a run saw together, by rank, and what the run came to."""

    lines: tuple[tuple[list[Any], ...], ...]
    end: Mapping[str, Any] | None

    @classmethod
    def of(cls, folder: Path, size: int) -> Story:
        diaries = [folder / f"diary-{rank}.jsonl" for rank in range(size)]
        return cls(tuple(tuple(map(json.loads, diary.read_text().splitlines())) for diary in diaries), _end_of(folder))

    def told(self, kind: str, rank: int = 0) -> list[list[Any]]:
        """The lines of one kind, each without that."""
        return [values for name, *values in self.lines[rank] if name == kind]

    def seen(self) -> dict[str, Any]:
        """Each batch, logged step and evaluation by its kind, rank and number. Fails where one was seen twice, and differed."""
        seen: dict[str, Any] = {}
        for rank in range(len(self.lines)):
            for kind in ("batch", "step", "evaluation"):
                for number, values in self.told(kind, rank):
                    assert seen.setdefault(f"{kind} {number} of rank {rank}", values) == values, f"{kind} {number} differs after a resume"
        return seen


def _end_of(folder: Path) -> dict[str, Any] | None:
    """Hashes of the newest checkpoint's weights and optimizer, its state but for the clock, and the history."""
    checkpoint = CheckpointStore(folder / "checkpoints", {}).newest()
    if checkpoint is None:
        return None
    state = {name: value for name, value in checkpoint.state.items() if name not in ("elapsed_seconds", "pace")}
    history = History.read(folder)
    evaluations = [record.model_dump(exclude={"elapsed_seconds"}) for record in history.evaluations]
    return {
        "weights": checkpoint.weights_sha256,
        "optimizer": _hash_of(checkpoint.optimizer()),
        "state": state,
        "history": [evaluations, [boundary.model_dump() for boundary in history.boundaries]],
        "kept": sorted(path.name for path in (folder / "checkpoints").iterdir() if not path.name.startswith("damaged_")),
    }


def _hash_of(tree: Any) -> str:
    """The SHA-256 of all numbers in a tree of mappings, lists and tensors."""
    if isinstance(tree, Tensor):
        return hashlib.sha256(tree.numpy().tobytes()).hexdigest()
    if isinstance(tree, Mapping):
        return hashlib.sha256("".join(f"{key}:{_hash_of(value)}" for key, value in tree.items()).encode()).hexdigest()
    if isinstance(tree, list | tuple):
        return hashlib.sha256("".join(map(_hash_of, tree)).encode()).hexdigest()
    return repr(tree)


class Server:
    """Starts runs."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["killed_run_server"])
        with pytest.MonkeyPatch.context() as environment:  # which the server keeps
            environment.setenv("OMP_NUM_THREADS", "1")
            environment.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            forkserver.ensure_running()
        self._number = 0

    def run(self, folder: Path, kill: Kill | None = None, size: int = 1, dropout: float = DROPOUT) -> list[int | None]:
        """Run in `size` processes until all have ended; their exit codes, None for one that had to be ended from here."""
        folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        rendezvous = folder / f"rendezvous-{self._number}"
        workers = [self._context.Process(target=run, args=(folder, kill, rank, size, rendezvous, dropout)) for rank in range(size)]
        for worker in workers:
            worker.start()
        return [_ended(worker) for worker in workers]


def _ended(worker: BaseProcess) -> int | None:
    worker.join(2 * PATIENCE)
    if worker.exitcode is None:
        worker.kill()
        worker.join()
        return None
    return worker.exitcode
