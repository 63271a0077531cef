"""Figures gathered between two logged steps: sums stay on the device until they are read."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from masklab.training.batch import Batch
from masklab.training.ranks import Ranks
from masklab.training.step import StepResult


@dataclass(frozen=True)
class Reading:
    """Means and rates over the steps of one interval, the same on every rank."""

    loss: float
    plain_sum: float
    """Sum of plain cross-entropies, nats."""
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
    _masked: int = 0
    _chars: int = 0
    _wait: float = 0.0
    _sums: Tensor | None = None
    _since: float = field(default_factory=time.perf_counter)

    def add(self, batch: Batch, result: StepResult, wait: float) -> None:
        """Count one step, of which `wait` seconds were spent waiting for its batch. Does not wait for the device."""
        self._steps += 1
        self._masked += int(np.count_nonzero(batch.selected))
        self._chars += batch.inputs.size
        self._wait += wait
        sums = torch.stack([result.loss, result.plain_sum, result.grad_norm])
        self._sums = sums if self._sums is None else self._sums + sums

    @property
    def steps(self) -> int:
        """Steps since the interval began."""
        return self._steps

    def read(self) -> Reading:
        """The interval's figures over all workers; starts the next interval. Waits for the device, and for the other ranks."""
        assert self._sums is not None, "a meter is read after at least one step"
        loss, plain, norm = self._sums.double().cpu().tolist() if self._sums.device.type != "mps" else self._sums.cpu().tolist()
        seconds = time.perf_counter() - self._since
        own = np.array([loss, plain, norm, self._masked, self._chars, seconds, self._wait])
        totals = self.ranks.total(own).tolist()
        steps, size = self._steps, self.ranks.size
        self.restart()
        return Reading(
            loss=totals[0] / steps,
            plain_sum=totals[1],
            masked=round(totals[3]),
            chars=round(totals[4]),
            grad_norm=totals[2] / (steps * size),
            seconds=totals[5] / size,
            data_wait_fraction=totals[6] / totals[5],
        )

    def restart(self) -> None:
        """Forget the interval, for instance after an evaluation."""
        self._steps = self._masked = self._chars = 0
        self._wait = 0.0
        self._sums = None
        self._since = time.perf_counter()
