"""A run that skips steps and goes back takes the same path when it is interrupted, and with two workers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from poison import NAN, of_kind, poisoned_loop, state_of
from recipes import recipe

from masklab.errors import InstabilityError
from masklab.failpoints import listening
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.events import Event, RolledBack, RunFinished, RunStopped, StepDone, StepSkipped
from masklab.training.loop import Loop
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe
from masklab.training.stop import StopRequest

BAD = {5: NAN, 13: NAN, 14: NAN, 15: NAN, 20: 100.0}
"""A step alone, three in a row, which take the run back, and a spike."""


def unstable() -> Recipe:
    """Crosses a stage at 8 and goes back at 15, from there to 12."""
    return recipe(
        model={"dropout": 0.1},
        training={"max_iters": 24, "log_interval": 3},
        stability={"rollback_after": 3, "spike_window": 8, "rollback_lr_factor": 0.5},
    )


def outcome(loop: Loop, events: list[Any]) -> tuple[Any, ...]:
    last = of_kind(events, RunFinished)[0]
    assert isinstance(last, RunFinished)
    stability = last.stability
    return last.batches_digest, last.chars, last.masked_chars, last.evaluation.nelbo, stability.skips, stability.rollbacks


def assert_same(loop: Loop, other: Loop) -> None:
    for ours, theirs in zip(state_of(loop.model, loop.stepper.optimizer), state_of(other.model, other.stepper.optimizer), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def whole(corpus: TokenCorpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loop, list[Any]]:
    """The run without a break."""
    loop = poisoned_loop(unstable(), corpus, BAD, CheckpointStore(tmp_path_factory.mktemp("whole"), {}))
    events = list(loop.run())
    assert [(e.iteration, e.rollback.to) for e in of_kind(events, RolledBack)] == [(16, 12)]
    assert [(s.first, s.last, s.cause) for s in loop.position.stability.skips] == [(5, 5, "loss"), (13, 15, "loss"), (20, 20, "spike")]
    return loop, events


def test_a_run_broken_off_at_any_event_takes_the_same_path(
    corpus: TokenCorpus, whole: tuple[Loop, list[Any]], tmp_path: Path, told: Any
) -> None:
    loop, events = whole
    seen = {number for number, event in enumerate(events, start=1) if isinstance(event, StepSkipped | RolledBack)}
    breaks = sorted({*range(1, len(events), 4), *seen})
    for number in breaks:
        store = CheckpointStore(tmp_path / str(number), {})
        broken = poisoned_loop(unstable(), corpus, BAD, store).run()
        for _ in range(number):
            next(broken)
        broken.close()  # type: ignore[attr-defined]
        resumed = poisoned_loop(unstable(), corpus, BAD, store)
        rest = list(resumed.run())
        assert outcome(resumed, rest) == outcome(loop, events), f"broken off after event {number}"
        assert_same(resumed, loop)
    told(f"instability: {len(breaks)} breaks of a run with 5 bad steps and a rollback: 0 differing weights, moments, batches or paths")


def test_a_run_stopped_after_any_step_takes_the_same_path(
    corpus: TokenCorpus, whole: tuple[Loop, list[Any]], tmp_path: Path, told: Any
) -> None:
    """Five stops in a row, at steps in the middle of intervals and of skipped steps; the checkpoints they leave are none to go back to."""
    loop, events = whole
    for stops in ((4, 6, 7, 11, 14), (2, 9, 13, 15, 16), (13, 14, 15, 17, 20), (1, 10, 12, 19, 21)):
        store = CheckpointStore(tmp_path / str(stops[0]), {})
        for stop in stops:
            request = StopRequest()
            part = poisoned_loop(unstable(), corpus, BAD, store, request=request)
            *_, last = stopped_at(part, stop, request)
            assert isinstance(last, RunStopped) and last.iteration == stop
        resumed = poisoned_loop(unstable(), corpus, BAD, store)
        rest = list(resumed.run())
        assert outcome(resumed, rest) == outcome(loop, events), f"stopped after {stops}"
        assert_same(resumed, loop)
    told("instability: 20 stops of a run with 5 bad steps and a rollback: 0 differing weights, moments, batches or paths")


def stopped_at(loop: Loop, iteration: int, request: StopRequest) -> list[Event]:
    """The events of a run that is asked to stop during its step to `iteration`."""

    def ask(name: str) -> None:
        if name == "step.taken" and loop.position.iteration == iteration:
            request.ask("a test")

    with listening(ask):
        return list(loop.run())


def test_a_run_that_had_to_stop_stops_again_in_the_same_words(corpus: TokenCorpus, tmp_path: Path) -> None:
    made = recipe(stability={"rollback_after": 3, "max_rollbacks": 1})
    messages = []
    for _ in range(3):
        with pytest.raises(InstabilityError) as caught:
            list(poisoned_loop(made, corpus, dict.fromkeys(range(5, 20), NAN), CheckpointStore(tmp_path, {})).run())
        messages.append(str(caught.value))
    assert len(set(messages)) == 1


def test_a_run_that_had_to_stop_goes_on_when_it_may_go_back_more_often(corpus: TokenCorpus, tmp_path: Path) -> None:
    bad, loops = dict.fromkeys(range(5, 11), NAN), []
    for name, bounds in (("one", (0, 1, 2)), ("other", (2,))):
        for bound in bounds:
            made = recipe(stability={"rollback_after": 3, "max_rollbacks": bound})
            loop = poisoned_loop(made, corpus, bad, CheckpointStore(tmp_path / name, {}))
            with pytest.raises(InstabilityError) if bound < 2 else nullcontext():
                list(loop.run())
        loops.append(loop)
    assert loops[0].position.iteration == 20
    assert_same(*loops)


def _worker(rank: int, size: int, port: str, made: Recipe, corpus: TokenCorpus, folder: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{port}", rank=rank, world_size=size)
    factors = BAD if rank == 1 else {20: 100.0}  # a NaN in the rows of one of them alone
    loop = poisoned_loop(made, corpus, factors, CheckpointStore(Path(folder), {}), Ranks(rank, size))
    events = list(loop.run())
    stability = loop.position.stability
    torch.save(
        {
            "state": list(state_of(loop.model, loop.stepper.optimizer)),
            "skips": [(s.first, s.last, s.cause) for s in stability.skips],
            "rollbacks": [(r.iteration, r.to, r.lr_factor) for r in stability.rollbacks],
            "losses": [e.loss for e in of_kind(events, StepDone)],
            "limit": stability.limit,
            "window": list(stability.window),
            "lines": len(of_kind(events, StepSkipped)),
        },
        f"{out}.{rank}",
    )
    dist.barrier()  # neither leaves while the other still talks
    dist.destroy_process_group()


def test_two_workers_skip_and_go_back_as_one_does(corpus: TokenCorpus, tmp_path: Path, told: Any) -> None:
    made = recipe(
        training={"max_iters": 24, "log_interval": 3},
        stability={"rollback_after": 3, "spike_window": 8, "rollback_lr_factor": 0.5},
    )
    alone = poisoned_loop(made, corpus, BAD, CheckpointStore(tmp_path / "one", {}))
    list(alone.run())
    out = str(tmp_path / "out")
    mp.spawn(_worker, (2, str(tmp_path / "rendezvous"), made, corpus, str(tmp_path / "two"), out), nprocs=2)
    first, second = (torch.load(f"{out}.{rank}", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.pop("state"), second["state"], strict=True))
    second.pop("state")
    own_losses = {"losses"}
    assert {k: v for k, v in first.items() if k not in own_losses} == {k: v for k, v in second.items() if k not in own_losses}
    stability = alone.position.stability
    assert first["skips"] == [(s.first, s.last, s.cause) for s in stability.skips]
    assert first["rollbacks"] == [(r.iteration, r.to, r.lr_factor) for r in stability.rollbacks] == [(16, 12, 0.5)]
    assert first["window"] == pytest.approx(stability.window, abs=1e-5)
    told("instability: two workers, a NaN in the rows of one: the same steps skipped, the same rollback, equal weights on both")
