"""The workers of one run: rank, number of workers, sums over all, and the agreement to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from masklab.training.stop import StopRequest


@dataclass(frozen=True)
class Ranks:
    """This worker's rank and the number of workers; tensors of the process group must be on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def total(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of `values`, of any shape, over all workers, on the host."""
        if self.size == 1:
            return values
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        tensor = torch.as_tensor(values, dtype=kind).to(self.device)
        dist.all_reduce(tensor)
        return tensor.cpu().double().numpy()

    def total_on_device(self, value: float) -> torch.Tensor | float:
        """The sum of one number over all workers, without waiting for it on the host."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float32).to(self.device, non_blocking=True)
        dist.all_reduce(tensor)
        return tensor

    def agree(self, value: float) -> float:
        return float(self.total(np.array([value if self.rank == 0 else 0.0]))[0])

    def total_modulo_2_64(self, value: int) -> int:
        """The sum modulo 2**64 of whole numbers over all workers, exact: in four limbs of 16 bits."""
        limbs = np.array([float(value >> shift & 0xFFFF) for shift in (0, 16, 32, 48)])
        return sum(int(limb) << shift for limb, shift in zip(self.total(limbs), (0, 16, 32, 48), strict=True)) % 2**64

    def part(self, count: int) -> tuple[int, int]:
        """First and last (exclusive) of this rank's contiguous share of `count` rows."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size


@dataclass
class Agreement:
    """Makes all workers stop at the same step, whichever of them got the request.

    After each step every worker adds its flag to a sum over all workers, on the host, and reads the sum after the next step. So no
    worker waits for a message or for the device; with several workers the run takes one step more.
    """

    ranks: Ranks
    request: StopRequest
    _group: Any = field(init=False, default=None)
    _pending: tuple[Any, torch.Tensor] | None = field(init=False, default=None, repr=False)

    def is_reached(self) -> bool:
        """Whether to stop here; the same on every worker. All workers call it after each step."""
        asked = self.request.reason is not None
        if self.ranks.size == 1:
            return asked
        # NCCL sums on the device only
        self._group = self._group or dist.new_group(backend="gloo")
        before = self._pending
        flag = torch.tensor([int(asked)])
        self._pending = dist.all_reduce(flag, group=self._group, async_op=True), flag
        if before is None:
            return False
        work, total = before
        work.wait()
        return bool(total.item())

    @property
    def reason(self) -> str:
        return self.request.reason or "another worker was asked to stop"
