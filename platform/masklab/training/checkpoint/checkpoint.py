"""Reads a checkpoint: its state, the weights and the optimizer's moments. Nothing executable is unpickled."""

from __future__ import annotations

import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from masklab.errors import CheckpointError, first_line
from masklab.model.config import ModelConfig
from masklab.model.tensor_file import load_tensors
from masklab.training.checkpoint.manifest import files_of, flaw_of

UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError),
    *(RuntimeError, RecursionError, MemoryError, pickle.UnpicklingError, zipfile.BadZipFile),
)
"""Errors of reading a damaged `optimizer.pt`."""


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint directory."""

    path: Path

    @property
    def iteration(self) -> int:
        return int(self.path.name.removeprefix("step_"))

    @property
    def files(self) -> frozenset[str]:
        return frozenset(files_of(self.path))

    @property
    def weights_sha256(self) -> str:
        return str(files_of(self.path)["model.safetensors"]["sha256"])

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "state.json").read_text(encoding="utf-8")))

    def tensors(self, sizes: ModelConfig | None = None) -> dict[str, Tensor]:
        """The model's weights by name, on the CPU. Raises CheckpointError as `load_tensors` does."""
        try:
            return load_tensors(self.path / "model.safetensors", sizes)
        except CheckpointError as error:
            raise CheckpointError(f"checkpoint {self.path}: {error}") from error

    def optimizer(self) -> dict[str, Any]:
        return load_optimizer(self.path / "optimizer.pt")


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises CheckpointError if it does not verify."""
    flaw = flaw_of(path)
    if flaw:
        raise CheckpointError(f"checkpoint {path}: {flaw}; use another checkpoint of the run")
    return Checkpoint(path)


def load_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Load the checkpoint's weights into `model`. Raises CheckpointError, naming tensors, for another architecture."""
    tensors, own = checkpoint.tensors(), model.state_dict()
    wrong = [
        f"{name} is {list(tensors[name].shape)}, the model's {list(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    wrong += [f"{name} is missing" for name in own.keys() - tensors.keys()] + [f"{name} is unknown" for name in tensors.keys() - own.keys()]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"checkpoint {checkpoint.path} is of another architecture: {'; '.join(sorted(wrong)[:3])}{more}; "
            "give the model sizes it was made with"
        )
    model.load_state_dict(tensors)


def load_optimizer(path: Path) -> dict[str, Any]:
    """The state that `torch.save` wrote, on the CPU. Raises CheckpointError for anything else; no code in it is run."""
    try:
        _refuse_packed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = f"{type(error).__name__}: {first_line(error)[:120]}"
        raise CheckpointError(
            f"checkpoint {path.parent}: {path.name} cannot be read ({reason}); use another checkpoint of the run"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} holds no optimizer state; use another checkpoint of the run")
    return state


def _refuse_packed(path: Path) -> None:
    """Raise ValueError for an archive that expands to more bytes than it has: `torch.save` does not compress."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("is packed, or its parts overlap")
