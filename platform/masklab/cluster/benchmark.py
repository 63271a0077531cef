"""Speed of the training loop on Ray and without it, measured in turn, so that a drift of the machine's speed affects both alike.

One side is a Ray Train worker fed by the producer actor through its pull window, as in any run. The other is the same loop in this
process, on batches made beforehand. Each runs a block of steps while the other waits.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ray
import ray.train
import torch
from ray.train import RunConfig, ScalingConfig

from masklab.cluster.connection import connect, nodes_of_the_cluster, share_of
from masklab.cluster.workers.worker import WorkerSpec, build_loop, set_up_torch
from masklab.cluster.workers.worker_group import Trainer
from masklab.config.compose.composition import compose
from masklab.config.home import home_of
from masklab.config.jobs.train import Config
from masklab.corruption.throughput import measure
from masklab.reporting.tables import table_lines
from masklab.text.corpus import TokenCorpus
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.preparation import corpus_for, text_for
from masklab.training.data.batch import Batch, BatchKey
from masklab.training.events import StepDone
from masklab.training.loop import Loop
from masklab.training.precision import Precision, pick_device
from masklab.training.recipe import Worker
from masklab.training.run_folder import RunFolder
from masklab.training.settings import BUDGETS, TransferSettings

BLOCK = 25
"""Steps that one side takes before the other has its turn."""


@dataclass(frozen=True)
class Block:
    """Steps a second over one block, and the share of the time that was spent waiting for batches."""

    steps_per_second: float
    data_wait_fraction: float


@ray.remote(num_cpus=0)
class Gate:
    """Lets the worker run one block at a time: `open` grants a turn for which `wait` waits, `put` posts what `result` waits for."""

    def __init__(self) -> None:
        self.turns: asyncio.Queue[bool] = asyncio.Queue()
        self.blocks: asyncio.Queue[Block] = asyncio.Queue()

    async def open(self) -> None:
        await self.turns.put(True)

    async def wait(self) -> None:
        await self.turns.get()

    async def put(self, block: Block) -> None:
        await self.blocks.put(block)

    async def result(self) -> Block:
        return await self.blocks.get()


@dataclass(frozen=True)
class PreloadedSource:
    """A BatchSource of batches that were made in advance."""

    batches: list[Batch]

    def take(self, key: BatchKey) -> Batch:
        return self.batches[key.step]

    def close(self) -> None: ...


def blocks_of(loop: Loop) -> Iterator[Block]:
    """Run `loop` a block at a time; the time between two blocks does not count."""
    began = loop.position.iteration
    for event in loop.run():
        if isinstance(event, StepDone):
            yield Block(event.chars_per_second / loop.recipe.training.chars_per_step, event.data_wait_fraction)
            assert event.iteration - began <= BLOCK, "a block is one logging interval"
            began = event.iteration
            loop.accounting.metrics.restart()


def _worker(arguments: dict[str, Any]) -> None:
    spec: WorkerSpec = arguments["spec"]
    set_up_torch(spec.threads)
    loop = build_loop(spec, 0, 1)
    for block in blocks_of(loop):
        ray.get(spec.channel.put.remote(block))
        ray.get(spec.channel.wait.remote())


def with_budget(config: Config, steps: int) -> Config:
    """`config` with a budget of `steps` steps and one more, logged once a block and never evaluated."""
    changed = {"max_iters": steps + 1, "log_interval": BLOCK, "eval_interval": 10 * steps}
    return config.model_copy(update={"training": config.training.model_copy(update=dict.fromkeys(BUDGETS) | changed)})


def measure_loop(config: Config, corpus: TokenCorpus, rounds: int = 9) -> list[tuple[str, str]]:
    """Rows of steps a second of `config`'s loop on one worker, on Ray and not: medians over `rounds` rounds of one block each.

    The first block of each side warms it up and does not count. Needs a connection to Ray.
    """
    steps = BLOCK * (rounds + 1)
    config = with_budget(config, steps)
    recipe = config.recipe
    pools = recipe.pools(corpus)
    share = share_of(config.scaling.model_copy(update={"num_workers": 1}), nodes_of_the_cluster())
    gate = Gate.remote()  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="masklab-benchmark-") as folder:
        run, references = RunFolder(Path(folder)), ([ray.put(corpus)], [ray.put(pools)])
        spec = replace(WorkerSpec.of(run.path.name, config, share, run, corpus, *references, None), channel=gate)
        trainer = Trainer(
            _worker,
            train_loop_config={"spec": spec},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=bool(share.gpus), resources_per_worker=share.resources()),
            run_config=RunConfig(name="ray", storage_path=folder),
        )
        maker = recipe.batch_maker(corpus)
        batches = [maker.make(BatchKey(0, step)) for step in range(steps + 1)]
        set_up_torch(share.cpus)
        device = pick_device(recipe.system.device)
        loop = Loop(Worker(recipe, corpus.vocabulary, Precision.of(recipe.system, device)), pools, PreloadedSource(batches))
        return _race(trainer, gate, blocks_of(loop), rounds)


def _race(trainer: Trainer, gate: Any, here: Iterator[Block], rounds: int) -> list[tuple[str, str]]:
    """Let the two sides take turns; the trainer runs in a thread, since `fit` returns only at the end."""
    thread = threading.Thread(target=trainer.fit, daemon=True)
    thread.start()
    pairs: list[tuple[Block, Block]] = []
    for _ in range(rounds + 2):  # the first event is the single first step, the second block still warms up
        there = ray.get(gate.result.remote(), timeout=300)
        pairs.append((there, next(here)))
        ray.get(gate.open.remote())
    thread.join(timeout=60)
    counted = pairs[2:]
    ratio = statistics.median(a.steps_per_second / b.steps_per_second for a, b in counted)
    return [
        ("steps/s on Ray, fed by the producer actor", f"{statistics.median(a.steps_per_second for a, _ in counted):.2f}"),
        ("steps/s in one process, batches preloaded", f"{statistics.median(b.steps_per_second for _, b in counted):.2f}"),
        (f"ratio, median of {len(counted)} rounds in turn", f"{ratio:.3f}"),
        ("share of the time spent waiting for data", f"{statistics.median(a.data_wait_fraction for a, _ in counted):.3%}"),
    ]


def seconds_to_first_step(project: Path, times: int = 3) -> float:
    """Median seconds from the command `jobs/train.py` to the end of its first optimizer step, after one run that warms up."""
    seen = []
    with tempfile.TemporaryDirectory(prefix="masklab-benchmark-") as home:
        for i in range(times + 1):
            command = [sys.executable, str(project / "jobs" / "train.py"), f"run.name=start-{i}", "training.max_iters=5"]
            environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"MASKLAB_HOME": home}
            small = ["validation.final_nelbo_sequences=64", "validation.nelbo_sequences=64", "sampling.steps=1"]
            subprocess.run([*command, *small], env=environment, check=True, stdout=subprocess.DEVNULL)
            summary = json.loads((Path(home) / "runs" / f"start-{i}" / "summary.json").read_text())
            seen.append(float(summary["seconds_to_first_step"]))
    return statistics.median(seen[1:])


def report(config: Config, project: Path) -> Iterator[str]:
    """The performance tables in Markdown, line by line as they are measured."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, ray {ray.__version__}"
    yield f"Machine: {os.cpu_count()} cores ({platform.machine()}), {versions}"
    yield ""
    head = ("masks of 1,024 positions, 64 rows a draw, one core", "masks/s", "M positions/s", "relative to drawing and comparing a uniform")
    rows = ((m.name, f"{m.masks_per_second:,.0f}", f"{m.positions_per_second / 1e6:,.0f}", f"{m.relative:.2f}") for m in measure())
    yield from table_lines(head, rows)
    yield ""
    first = seconds_to_first_step(project)
    connect(project / "platform", config.scaling.ray_logs)
    speeds = measure_loop(config, text_for(config.dataset, home_of(project) / ".corpora"))
    ray.shutdown()
    start = "seconds from jobs/train.py to the end of its first step", f"{first:.1f}"
    yield from table_lines(("the loop", "value"), [*speeds, start])


OVERRIDES = ("mode=sequence_classifier", "validation.sequences=16")


def transfer_table(project: Path, rounds: int = 9) -> Iterator[str]:
    """A Markdown table of the iterations a second of both modes of transfer, medians over `rounds` blocks that they run in turn.

    Their weights are new, which makes no difference here. The ratio is the median of the rounds' own ratios.
    """
    extraction, tuning = _blocks(project, "feature_extraction", rounds), _blocks(project, "fine_tuning", rounds)
    for _ in range(2):  # the first event is the single first step, and the first block warms up
        next(extraction), next(tuning)
    pairs = [(next(extraction).steps_per_second, next(tuning).steps_per_second) for _ in range(rounds)]
    medians = [
        ("iterations/s, feature extraction", statistics.median(frozen for frozen, _ in pairs)),
        ("iterations/s, fine-tuning", statistics.median(whole for _, whole in pairs)),
        (f"ratio, median of {rounds} rounds in turn", statistics.median(frozen / whole for frozen, whole in pairs)),
    ]
    yield ""
    yield from table_lines(("transfer, a classifier of texts", "value"), [(name, f"{value:.2f}") for name, value in medians])


def _blocks(project: Path, mode: Literal["feature_extraction", "fine_tuning"], rounds: int) -> Iterator[Block]:
    config = compose(OVERRIDES, project)
    corpus = corpus_for(config.dataset, home_of(project) / ".corpora")
    assert isinstance(corpus, LabelledCorpus), "rows with labels"
    steps = BLOCK * (rounds + 2)
    recipe = replace(with_budget(config, steps).recipe, transfer=TransferSettings(init_checkpoint="none", mode=mode))
    maker = recipe.batch_maker(corpus)
    source = PreloadedSource([maker.make(BatchKey(0, step)) for step in range(steps + 1)])
    precision = Precision.of(recipe.system, pick_device(recipe.system.device))
    loop = Loop(Worker(recipe, corpus.vocabulary, precision, corpus.labels), recipe.pools(corpus), source)
    return blocks_of(loop)
