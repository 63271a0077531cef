"""Asking a run to stop: at the end of the step under way, on every worker at the same one, and between the batches of an evaluation."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from masklab.training.ranks import Ranks


class StopRequest:
    """A flag with a reason that any thread, or a signal's handler, may set and any other read. The first reason stands."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._reason: str | None = None

    def ask(self, reason: str) -> None:
        """Ask for the run's end, for instance because of `SIGTERM`."""
        # no lock: a signal's handler may interrupt whoever holds it
        if self._reason is None:
            self._reason = reason
        self._asked.set()

    @property
    def reason(self) -> str | None:
        """Why the run is to stop; None while nobody has asked."""
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait until somebody asks, for at most `seconds`. Returns whether somebody has."""
        return self._asked.wait(seconds)


class EvaluationStopped(Exception):
    """An evaluation was given up, on all workers at once, because the run is to stop."""


@dataclass
class Agreement:
    """Lets all workers see a request at the same step, whichever of them was asked.

    After each step every worker adds its flag to a sum over all of them, on the host, which is read after the next step: nobody waits
    for a message that is under way, nor for the device. The price is one more step where there are several workers.
    """

    ranks: Ranks
    request: StopRequest
    _group: Any = None
    _under_way: tuple[Any, torch.Tensor] | None = field(default=None, repr=False)

    def is_reached(self) -> bool:
        """Whether to stop here; the same on every worker. To be called after each step, by all of them."""
        asked = self.request.reason is not None
        if self.ranks.size == 1:
            return asked
        # NCCL adds on the device alone
        self._group = self._group or dist.new_group(backend="gloo")
        before = self._under_way
        flag = torch.tensor([int(asked)])
        self._under_way = dist.all_reduce(flag, group=self._group, async_op=True), flag
        if before is None:
            return False
        work, total = before
        work.wait()
        return bool(total.item())

    @property
    def reason(self) -> str:
        """Why the run stops; another worker may know it where this one was not asked."""
        return self.request.reason or "another worker was asked to stop"
