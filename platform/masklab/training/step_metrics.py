"""Metrics gathered between two logged steps. They stay on the device until they are fetched."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from masklab.training.data.batch import Batch, BatchKey
from masklab.training.loss_spikes import StepOutcome
from masklab.training.ranks import Ranks
from masklab.training.step import StepResult

OF_INTERVAL = (True, False, False)
"""Which numbers of a saved interval are sums over workers: characters; not the wait and not the seconds."""
OF_STEP = (True, True, False, False, True)
"""The same for a step: loss, plain sum and masked characters; not the gradient norm and not `taken`."""


@dataclass(frozen=True)
class IntervalMetrics:
    """Means and rates over the steps of one interval, the same on every rank. Skipped steps count for the speed only."""

    loss: float
    """NaN if every step in the interval was skipped; so is `grad_norm`."""
    plain_sum: float
    """Sum of unweighted cross-entropies, nats, over `taken_masked` characters."""
    taken_masked: int
    masked: int
    chars: int
    grad_norm: float
    seconds: float
    """Time of the steps, without evaluations and checkpoints."""
    data_wait_fraction: float

    @property
    def mask_ratio(self) -> float:
        return self.masked / self.chars

    @property
    def chars_per_second(self) -> float:
        """Over all workers."""
        return self.chars / self.seconds


@dataclass
class StepMetrics:
    """Adds up the metrics of steps on one rank until they are read."""

    ranks: Ranks
    steps: int = field(init=False, default=0)
    """Steps since the interval began."""
    _chars: float = field(init=False, default=0)
    _wait: float = field(init=False, default=0.0)
    _masked: list[float] = field(init=False, default_factory=list)
    """Per step. Fractions where other workers began the interval; whole numbers once added up over all."""
    _fetched: list[tuple[float, ...]] = field(init=False, default_factory=list)
    """Per fetched step: this rank's loss and plain sum, the gradient norm, and whether the step was taken."""
    _on_device: list[tuple[BatchKey, Tensor]] = field(init=False, default_factory=list)
    """Steps that are not fetched yet."""
    _since: float = field(init=False, default_factory=time.perf_counter)

    def add(self, batch: Batch, result: StepResult, wait: float) -> None:
        """Count one step, which waited `wait` seconds for its batch. Does not wait for the device."""
        self.steps += 1
        self._masked.append(int(np.count_nonzero(batch.selected)))
        self._chars += batch.inputs.size
        self._wait += wait
        row = (result.loss, result.plain_sum, result.grad_norm, result.taken, result.whole_loss)
        self._on_device.append((batch.key, torch.stack([value.float() for value in row])))

    def fetch(self) -> tuple[StepOutcome, ...]:
        """The outcomes of the steps since the last call, in order. Waits for the device."""
        if not self._on_device:
            return ()
        rows = torch.stack([row for _, row in self._on_device]).cpu().tolist()
        keys = [key for key, _ in self._on_device]
        self._on_device = []
        self._fetched += [(loss, plain, norm, taken) for loss, plain, norm, taken, _ in rows]
        return tuple(
            StepOutcome(key.step, key.stage, whole, norm, bool(taken)) for key, (_, _, norm, taken, whole) in zip(keys, rows, strict=True)
        )

    def read(self) -> IntervalMetrics:
        """The interval's metrics over all workers; starts the next interval. Waits for the device and for the other ranks."""
        self.fetch()
        assert self._fetched, "read after at least one step"
        taken = [(*row[:3], masked) for row, masked in zip(self._fetched, self._masked, strict=True) if row[3]]
        loss, plain, norm, taken_masked = np.sum(taken, axis=0) if taken else np.zeros(4)
        seconds = time.perf_counter() - self._since
        own = np.array([loss, plain, norm, taken_masked, sum(self._masked), self._chars, seconds, self._wait])
        totals = self.ranks.total(own).tolist()
        steps, size = len(taken) or float("nan"), self.ranks.size
        self.restart()
        return IntervalMetrics(
            loss=totals[0] / steps,
            plain_sum=totals[1],
            taken_masked=round(totals[3]),
            masked=round(totals[4]),
            chars=round(totals[5]),
            grad_norm=totals[2] / (steps * size),
            seconds=totals[6] / size,
            data_wait_fraction=totals[7] / totals[6],
        )

    def saved(self) -> list[list[float]]:
        """The interval so far of each worker, for `put_back`. All steps must be fetched. Waits for the other ranks."""
        assert not self._on_device, "steps are fetched before they are saved"
        if not self.steps:
            return []
        seconds = time.perf_counter() - self._since
        # a NaN belongs to a skipped step, which counts nowhere
        steps = [np.nan_to_num([*row, masked]) for row, masked in zip(self._fetched, self._masked, strict=True)]
        workers = np.zeros((self.ranks.size, len(OF_INTERVAL) + len(OF_STEP) * self.steps))
        workers[self.ranks.rank] = np.concatenate([[self._chars, self._wait, seconds], *steps])
        workers_saved: list[list[float]] = self.ranks.total(workers).tolist()
        return workers_saved

    def put_back(self, saved: list[list[float]]) -> None:
        """Continue the interval that `saved` returned, with any number of workers."""
        self.restart()
        if not saved:
            return
        workers, size = np.array(saved), self.ranks.size
        own = workers[self.ranks.rank % len(workers)]
        steps = (len(own) - len(OF_INTERVAL)) // len(OF_STEP)
        if len(workers) != size:
            shared = np.array([*OF_INTERVAL, *OF_STEP * steps])
            own = np.where(shared, workers.sum(axis=0) / size, workers.mean(axis=0))
        self.steps = steps
        self._chars, self._wait, seconds = own[: len(OF_INTERVAL)].tolist()
        rows = own[len(OF_INTERVAL) :].reshape(steps, len(OF_STEP)).tolist()
        self._fetched, self._masked = [tuple(row[:-1]) for row in rows], [row[-1] for row in rows]
        self._since -= seconds

    def leave_out(self, seconds: float) -> None:
        self._since += seconds

    def restart(self) -> None:
        """Begin a new interval, for instance after an evaluation; steps that were not fetched are lost."""
        self.steps = self._chars = 0
        self._wait = 0.0
        self._masked, self._fetched, self._on_device = [], [], []
        self._since = time.perf_counter()
