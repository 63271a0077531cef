"""What it costs to save a run at its default interval, in time of the processor; on a GPU the copy does not wait for training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from masklab.config.compose.composition import compose
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint import async_saver
from masklab.training.checkpoint.async_saver import Snapshot
from masklab.training.checkpoint.checkpoint import open_checkpoint
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch_maker import LocalSource
from masklab.training.loop import Loop
from masklab.training.precision import Precision
from masklab.training.recipe import Worker

SHARE = 0.02
"""Of the time between two checkpoints."""
REPEATS = 5


def seconds_of(work: Callable[[], object]) -> float:
    """The median of the processor's time over a few repetitions, all threads of this process together."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


@pytest.mark.slow
def test_saving_the_default_run_costs_less_than_a_fiftieth(
    corpus: TokenCorpus, root: Path, tmp_path: Path, told: Callable[[str], None]
) -> None:
    made = compose([], root).recipe
    source = LocalSource(made.batch_maker(corpus), 0, made.training.rows_per_step)
    loop = Loop(Worker(made, corpus.vocabulary, Precision.of(made.system, torch.device("cpu"))), made.pools(corpus), source)
    next(loop.run())
    store, state = CheckpointStore(tmp_path, {}), loop.position.to_json()
    step = seconds_of(loop._step)
    copying = seconds_of(lambda: Snapshot.of(1, loop.model, loop.stepper.state(), state))
    saving = seconds_of(lambda: store.save(1, loop.model, loop.stepper.state(), state))
    interval = made.training.eval_interval * step  # without the evaluation, which is saved after
    told(
        f"saving: {1e3 * copying:.1f} ms in which training waits and {1e3 * (saving - copying):.1f} ms beside it, every {interval:.1f} s: "
        f"{copying / interval:.3%} and {saving / interval:.3%} of the processor's time, {made.training.eval_interval} steps apart"
    )
    assert saving < SHARE * interval


@pytest.mark.gpu
@pytest.mark.parametrize("has_room", [True, False])
def test_on_a_gpu_the_copy_holds_what_was_there_when_it_was_taken(has_room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_saver, "_has_room", lambda device, size: has_room)
    model = nn.Linear(4000, 4000, device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(3):
        model(torch.ones(8, 4000, device="cuda")).sum().backward()
        optimizer.step()
    expected = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    snapshot = Snapshot.of(1, model, {"optimizer": optimizer.state_dict()}, {"iteration": 1})
    assert snapshot.weights["weight"].is_cuda == (snapshot.copied is not None) == has_room
    for _ in range(50):  # training goes on in its own stream
        model(torch.ones(8, 4000, device="cuda")).sum().backward()
        optimizer.step()
    checkpoint = open_checkpoint(CheckpointStore(tmp_path, {}).write(snapshot))
    saved = checkpoint.tensors()
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    assert not torch.equal(model.weight.detach().cpu(), expected["weight"])
    assert checkpoint.optimizer()["optimizer"]["state"][0]["step"] == 3
