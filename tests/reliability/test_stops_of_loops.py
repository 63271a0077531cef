"""A run that is asked to stop, at whatever moment, ends after a whole step, and goes on to the end that it would have had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from masklab.curriculum.curriculum import Curriculum
from masklab.model.config import ModelConfig
from masklab.modes.token_classifier import TokenClassifier
from masklab.sampling.settings import SamplingSettings
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import LocalSource
from masklab.training.events import Event, RunFinished, RunStopped
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.ranks import Agreement, Ranks
from masklab.training.recipe import Recipe, Worker
from masklab.training.settings import ObjectiveSettings, SystemSettings, TrainingSettings, ValidationSettings
from masklab.training.stop import StopRequest

STEPS = 12


class AskedAtALook(StopRequest):
    """A request that comes at the `number`th time that anybody looks for it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.looks = number, 0

    @property
    def reason(self) -> str | None:
        self.looks += 1
        if self.looks == self.number:
            self.ask("SIGTERM")
        return super().reason


def recipe() -> Recipe:
    """Two stages in a dozen steps; an evaluation goes through 5 batches of its pools."""
    stages = [{"type": "random", "max_ratio": 0.3, "max_iters": 4}, {"type": "diffusion"}]
    return Recipe(
        seed=7,
        windows="anywhere",
        curriculum=Curriculum.model_validate({"stages": stages}),
        mode=TokenClassifier(),
        model=ModelConfig(n_layer=1, n_head=2, n_embd=16, dropout=0.1),
        objective=ObjectiveSettings(),
        training=TrainingSettings(max_iters=STEPS, batch_size=4, block_size=16, eval_interval=4, log_interval=1, warmup_iters=2),
        validation=ValidationSettings(sequences=6, nelbo_sequences=8, final_nelbo_sequences=16, batch_size=4),
        system=SystemSettings(device="cpu"),
        sampling=SamplingSettings(steps=2),
    )


def run(corpus: TokenCorpus, folder: Path, request: StopRequest, ranks: Ranks | None = None) -> tuple[list[Event], bytes]:
    """The events of a run in `folder`, and its weights."""
    made, ranks = recipe(), ranks or Ranks()
    source = LocalSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step))
    wrap = DistributedDataParallel if ranks.size > 1 else (lambda module: module)
    precision = Precision.of(made.system, torch.device("cpu"))
    store = CheckpointStore(folder, {})
    loop = Loop(Worker(made, corpus.vocabulary, precision, None, ranks, wrap), made.pools(corpus), source, store, request)
    events = list(loop.run())
    return events, b"".join(np.ascontiguousarray(p.detach().numpy()).tobytes() for p in loop.model.parameters())


def test_a_run_that_is_stopped_at_any_moment_ends_as_one_that_was_not(
    corpus: TokenCorpus, tmp_path: Path, told: Callable[[str], None]
) -> None:
    quiet = AskedAtALook(0)
    events, weights = run(corpus, tmp_path / "quiet", quiet)
    last = events[-1]
    assert isinstance(last, RunFinished)
    within_evaluations = 0
    for number in range(1, quiet.looks + 1):
        folder = tmp_path / str(number)
        stopped = run(corpus, folder, AskedAtALook(number))[0][-1]
        if isinstance(stopped, RunFinished):  # asked when all was over
            assert number == quiet.looks
            continue
        assert isinstance(stopped, RunStopped) and stopped.reason == "SIGTERM"
        newest = CheckpointStore(folder, {}).newest()
        assert newest is not None and newest.state["iteration"] == stopped.iteration
        within_evaluations += bool(newest.state["evaluation_due"])
        resumed, weights_then = run(corpus, folder, StopRequest())
        end = resumed[-1]
        assert isinstance(end, RunFinished)
        assert weights_then == weights
        assert (end.evaluation.nelbo, end.evaluation.stages, end.batches_digest) == (
            last.evaluation.nelbo,
            last.evaluation.stages,
            last.batches_digest,
        )
        assert (end.chars, end.masked_chars, end.stage) == (last.chars, last.masked_chars, last.stage)
    assert within_evaluations > 5
    told(f"stops: {quiet.looks} moments, {within_evaluations} of them within evaluations; 0 steps lost, 0 runs that end otherwise")


def test_a_run_that_is_stopped_again_and_again_ends_as_one_that_was_not(corpus: TokenCorpus, tmp_path: Path) -> None:
    weights = run(corpus, tmp_path / "quiet", StopRequest())[1]
    for number in range(2, 20):
        events, then = run(corpus, tmp_path / "again", AskedAtALook(number))
        if isinstance(events[-1], RunFinished):
            break
    assert isinstance(events[-1], RunFinished) and number > 5
    assert then == weights


def _worker(rank: int, size: int, port: str, corpus: TokenCorpus, folder: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port}", rank=rank, world_size=size)
    request = StopRequest()
    agreement, seen = Agreement(Ranks(rank, size), request), []
    for step in range(6):
        if step == 2 and rank == 1:
            request.ask("SIGTERM")
        seen.append(agreement.is_reached())
    quiet = run(corpus, Path(folder) / "quiet", StopRequest(), Ranks(rank, size))[1]
    ends = []
    for number in (4, 9, 0):  # the second worker alone is asked: within a stretch of steps, and within an evaluation
        events, weights = run(corpus, Path(folder) / "stopped", AskedAtALook(number if rank == 1 else 0), Ranks(rank, size))
        ends.append(events[-1])
        dist.barrier()
    told = seen, agreement.reason, [type(e).__name__ for e in ends], [e.iteration for e in ends], weights == quiet
    torch.save(told, f"{out}{rank}")
    dist.destroy_process_group()


def test_two_workers_stop_at_the_same_step_whichever_of_them_is_asked(corpus: TokenCorpus, tmp_path: Path) -> None:
    mp.spawn(_worker, (2, str(tmp_path / "rendezvous"), corpus, str(tmp_path), str(tmp_path / "out")), nprocs=2)
    for rank, known in enumerate(["another worker was asked to stop", "SIGTERM"]):
        seen, reason, names, iterations, is_the_same = torch.load(tmp_path / f"out{rank}", weights_only=True)
        assert seen == [False, False, False, True, True, True], "one step after the first of them was asked"
        assert reason == known
        assert names == ["RunStopped", "RunStopped", "RunFinished"]
        assert 0 < iterations[0] < iterations[1] < iterations[2] == STEPS
        assert is_the_same


def test_the_first_reason_stands() -> None:
    request = StopRequest()
    assert not request.wait(0)
    request.ask("SIGTERM")
    request.ask("SIGINT")
    assert request.reason == "SIGTERM" and request.wait(0)
