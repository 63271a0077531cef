"""Device and number format of a run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from masklab.errors import ResourceError
from masklab.training.settings import ComputeSettings

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "T4": 65e12}
"""Dense 16-bit matrix rates from the vendors' data sheets, FLOP/s."""


def pick_device(name: str) -> torch.device:
    """The device called `name`; for `auto` the best available. Raises ResourceError if it is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, found in available.items() if found)
    if not available[name]:
        raise ResourceError(f"system.device={name}: torch {torch.__version__} finds no such device here; use system.device=auto")
    return torch.device(name)


@dataclass(frozen=True)
class Precision:
    """The autocast format on one device; `dtype` float32 means no autocast."""

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def of(cls, settings: ComputeSettings, device: torch.device) -> Precision:
        """The format of `settings` on `device`. Raises ResourceError if the device does not support it."""
        name = settings.dtype
        if name == "auto":
            name = "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
        if name == "float16" and device.type == "cpu":
            raise ResourceError("system.dtype=float16 needs a GPU; use float32 or bfloat16 on a CPU")
        return cls(device, getattr(torch, name))

    def autocast(self) -> AbstractContextManager[object]:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler, active for float16 only (Micikevicius et al. 2018)."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def peak_flops(self) -> float | None:
        """The device's 16-bit matrix rate, FLOP/s; None if it is unknown or not used."""
        if self.device.type != "cuda" or self.dtype == torch.float32:
            return None
        name = torch.cuda.get_device_name(self.device)
        return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
