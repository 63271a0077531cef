"""Figures gathered between two logged steps: they stay on the device until they are read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from masklab.training.batch import Batch, BatchKey
from masklab.training.ranks import Ranks
from masklab.training.stability import StepFigures
from masklab.training.step import StepResult


@dataclass(frozen=True)
class Reading:
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
class Meter:
    """Adds up steps on one rank until it is read."""

    ranks: Ranks
    _steps: int = 0
    _chars: int = 0
    _wait: float = 0.0
    _masked: list[int] = field(default_factory=list)
    """Of each step."""
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

    def fetch(self) -> tuple[StepFigures, ...]:
        """The figures of the steps since the last call, in order. Waits for the device."""
        if not self._waiting:
            return ()
        rows = torch.stack([row for _, row in self._waiting]).cpu().tolist()
        keys = [key for key, _ in self._waiting]
        self._waiting = []
        self._figures += [(loss, plain, norm, taken) for loss, plain, norm, taken, _ in rows]
        return tuple(
            StepFigures(key.step, key.stage, whole, norm, bool(taken)) for key, (_, _, norm, taken, whole) in zip(keys, rows, strict=True)
        )

    def read(self) -> Reading:
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
        return Reading(
            loss=totals[0] / steps,
            plain_sum=totals[1],
            taken_masked=round(totals[3]),
            masked=round(totals[4]),
            chars=round(totals[5]),
            grad_norm=totals[2] / (steps * size),
            seconds=totals[6] / size,
            data_wait_fraction=totals[7] / totals[6],
        )

    def restart(self) -> None:
        """Forget the interval, for instance after an evaluation; what was not fetched is lost."""
        self._steps = self._chars = 0
        self._wait = 0.0
        self._masked, self._figures, self._waiting = [], [], []
        self._since = time.perf_counter()
