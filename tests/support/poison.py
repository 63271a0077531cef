"""Training that goes wrong at chosen steps, and the same training written out by hand with those steps left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from masklab.model.transformer import Transformer
from masklab.rng import root_key
from masklab.text.corpus import TokenCorpus
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.data.batch import Batch, BatchKey
from masklab.training.data.batch_maker import BatchSource, LocalSource
from masklab.training.events import Event
from masklab.training.loop import Loop
from masklab.training.loss import LossModule
from masklab.training.optimizer import learning_rate, make_optimizer, set_rates
from masklab.training.precision import Precision
from masklab.training.ranks import Ranks
from masklab.training.recipe import Recipe, Worker
from masklab.training.step import micro_batches
from masklab.training.stop import StopRequest

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Poisoned:
    """A source whose losses are multiplied by `factors` at some steps."""

    source: BatchSource
    factors: Mapping[int, float]

    def take(self, key: BatchKey) -> Batch:
        batch = self.source.take(key)
        factor = self.factors.get(key.step, 1.0)
        return batch if factor == 1.0 else replace(batch, coefficients=(batch.coefficients * factor).astype("float32"))

    def close(self) -> None:
        self.source.close()


def poisoned_loop(
    made: Recipe,
    corpus: TokenCorpus,
    factors: Mapping[int, float],
    store: CheckpointStore | None = None,
    ranks: Ranks | None = None,
    precision: Precision | None = None,
    request: StopRequest | None = None,
) -> Loop:
    """A loop on the CPU, unless `precision` says otherwise; with two workers it needs a process group."""
    ranks = ranks or Ranks()
    source = Poisoned(LocalSource(made.batch_maker(corpus), *ranks.part(made.training.rows_per_step)), factors)
    wrap = DistributedDataParallel if ranks.size > 1 else (lambda module: module)
    precision = precision or Precision.of(made.system, torch.device("cpu"))
    return Loop(Worker(made, corpus.vocabulary, precision, None, ranks, wrap), made.pools(corpus), source, store, request)


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [e for e in events if isinstance(e, kind)]


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """All weights, then of each its moments and its count of steps."""
    parameters = list(model.parameters())
    yield from (p.detach().cpu() for p in parameters)
    for parameter in parameters:
        state = optimizer.state[parameter]
        yield from (state[name].detach().cpu() for name in ("exp_avg", "exp_avg_sq", "step"))


def assert_same_state(loop: Loop, literal: tuple[Transformer, torch.optim.Optimizer]) -> None:
    """Equal to the last bit."""
    for ours, theirs in zip(state_of(loop.model, loop.stepper.optimizer), state_of(*literal), strict=True):
        assert torch.equal(ours, theirs)


def by_hand(
    made: Recipe,
    corpus: TokenCorpus,
    steps: Collection[int],
    stage_of: Mapping[int, int] | None = None,
    device: str = "cpu",
    rates: Mapping[int, float] | None = None,
) -> tuple[Transformer, torch.optim.Optimizer]:
    """Train on the batches of `steps` alone, one step after the other and with nothing watched; stage 0 unless `stage_of` says more.

    `rates` are further factors of the learning rate.
    """
    model = made.mode.build(made.model, corpus.vocabulary, None, made.seed).to(device)
    optimizer = make_optimizer(model, made.training, made.transfer, torch.device(device))
    module, maker = LossModule(model, made.mode, made.objective.label_smoothing), made.batch_maker(corpus)
    assert made.training.max_iters is not None
    for step in steps:
        if made.model.dropout > 0:
            torch.manual_seed(int(root_key(made.seed, step, 0)[0] >> 1))
        batch = maker.make(BatchKey((stage_of or {}).get(step, 0), step))
        for part, coefficients in micro_batches(batch, made.training.batch_size):
            weighted_sum, _ = module(part.to(device), coefficients.to(device))
            (weighted_sum * (1 / batch.denominator)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), made.training.grad_clip)
        set_rates(optimizer, learning_rate(made.training, step, step / made.training.max_iters) * (rates or {}).get(step, 1.0))
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer
