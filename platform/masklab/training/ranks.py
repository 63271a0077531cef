"""The workers of one run as the loop sees them: how many, which am I, and sums over all."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranks:
    """This worker's number and the number of workers; `device` is where the process group's tensors must lie."""

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
        """Rank 0's `value`, on every rank."""
        return float(self.total(np.array([value if self.rank == 0 else 0.0]))[0])

    def total_modulo_2_64(self, value: int) -> int:
        """The sum modulo 2**64 of whole numbers over all workers, exact: in four limbs of 16 bits."""
        limbs = np.array([float(value >> shift & 0xFFFF) for shift in (0, 16, 32, 48)])
        return sum(int(limb) << shift for limb, shift in zip(self.total(limbs), (0, 16, 32, 48), strict=True)) % 2**64

    def part(self, count: int) -> tuple[int, int]:
        """First and last (exclusive) of this rank's contiguous share of `count` rows."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size
