"""Figures gathered between two logged steps: they stay on the device until they are read."""

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
"""Which figures of an interval are shared out among the workers, so that they add up: characters, and neither wait nor seconds."""
OF_STEP = (True, True, False, False, True)
"""The same of a step: loss, plain sum and masked characters, and neither the gradient's norm nor whether the step was taken."""


@dataclass(frozen=True)
class IntervalMetrics:
    """Means and rates over the steps of one interval, the same on every rank. Skipped steps count for the pace, and for nothing else."""

    loss: float
    """No number where no step was taken, and so the gradient's norm."""
    plain_sum: float
    """Sum of plain cross-entropies, nats, over `taken_masked` characters."""
    taken_masked: int
    masked: int
    chars: int
    grad_norm: float
    seconds: float
    """Time of the loop itself: evaluations and checkpoints do not count."""
    data_wait_fraction: float

    @property
    def mask_ratio(self) -> float:
        """Realised share of selected positions."""
        return self.masked / self.chars

    @property
    def chars_per_second(self) -> float:
        """Characters of all workers together, a second."""
        return self.chars / self.seconds


@dataclass
class StepMetrics:
    """Adds up steps on one rank until it is read."""

    ranks: Ranks
    _steps: int = 0
    _chars: float = 0
    _wait: float = 0.0
    _masked: list[float] = field(default_factory=list)
    """Of each step. These are fractions where an interval was begun by other workers, and add up to whole numbers over all."""
    _figures: list[tuple[float, ...]] = field(default_factory=list)
    """Of each step that was fetched: this rank's loss and plain sum, the gradient's norm, and whether the step was taken."""
    _waiting: list[tuple[BatchKey, Tensor]] = field(default_factory=list)
    """Steps whose figures lie on the device."""
    _since: float = field(default_factory=time.perf_counter)

    def add(self, batch: Batch, result: StepResult, wait: float) -> None:
        """Count one step, of which `wait` seconds were spent waiting for its batch. Does not wait for the device."""
        self._steps += 1
        self._masked.append(int(np.count_nonzero(batch.selected)))
        self._chars += batch.inputs.size
        self._wait += wait
        figures = (result.loss, result.plain_sum, result.grad_norm, result.taken, result.whole_loss)
        self._waiting.append((batch.key, torch.stack([figure.float() for figure in figures])))

    @property
    def steps(self) -> int:
        """Steps since the interval began."""
        return self._steps

    def fetch(self) -> tuple[StepOutcome, ...]:
        """The figures of the steps since the last call, in order. Waits for the device."""
        if not self._waiting:
            return ()
        rows = torch.stack([row for _, row in self._waiting]).cpu().tolist()
        keys = [key for key, _ in self._waiting]
        self._waiting = []
        self._figures += [(loss, plain, norm, taken) for loss, plain, norm, taken, _ in rows]
        return tuple(
            StepOutcome(key.step, key.stage, whole, norm, bool(taken)) for key, (_, _, norm, taken, whole) in zip(keys, rows, strict=True)
        )

    def read(self) -> IntervalMetrics:
        """The interval's figures over all workers; starts the next interval. Waits for the device, and for the other ranks."""
        self.fetch()
        assert self._figures, "a meter is read after at least one step"
        taken = [(*row[:3], masked) for row, masked in zip(self._figures, self._masked, strict=True) if row[3]]
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
        """The interval so far, of each worker, for `put_back`. Waits for the device, and for the other ranks."""
        assert not self._waiting, "figures are fetched before they are saved"
        if not self._steps:
            return []
        seconds = time.perf_counter() - self._since
        # what is no number belongs to a step that was skipped, and counts nowhere
        steps = [np.nan_to_num([*row, masked]) for row, masked in zip(self._figures, self._masked, strict=True)]
        workers = np.zeros((self.ranks.size, len(OF_INTERVAL) + len(OF_STEP) * self._steps))
        workers[self.ranks.rank] = np.concatenate([[self._chars, self._wait, seconds], *steps])
        workers_saved: list[list[float]] = self.ranks.total(workers).tolist()
        return workers_saved

    def put_back(self, saved: list[list[float]]) -> None:
        """Go on with the interval that `saved` gave, whether to as many workers or not."""
        self.restart()
        if not saved:
            return
        workers, size = np.array(saved), self.ranks.size
        own = workers[self.ranks.rank % len(workers)]
        steps = (len(own) - len(OF_INTERVAL)) // len(OF_STEP)
        if len(workers) != size:
            shared = np.array([*OF_INTERVAL, *OF_STEP * steps])
            own = np.where(shared, workers.sum(axis=0) / size, workers.mean(axis=0))
        self._steps = steps
        self._chars, self._wait, seconds = own[: len(OF_INTERVAL)].tolist()
        rows = own[len(OF_INTERVAL) :].reshape(steps, len(OF_STEP)).tolist()
        self._figures, self._masked = [tuple(row[:-1]) for row in rows], [row[-1] for row in rows]
        self._since -= seconds

    def leave_out(self, seconds: float) -> None:
        """Do not count `seconds` of the interval, in which no step was taken."""
        self._since += seconds

    def restart(self) -> None:
        """Forget the interval, for instance after an evaluation; what was not fetched is lost."""
        self._steps = self._chars = 0
        self._wait = 0.0
        self._masked, self._figures, self._waiting = [], [], []
        self._since = time.perf_counter()
