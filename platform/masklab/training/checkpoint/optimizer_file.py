"""The optimizer's state in a checkpoint: tensors and plain values alone, no larger than the file, and of the shapes of the model."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from masklab.errors import CheckpointError, first_line


def load_optimizer(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote, on the CPU. Raises CheckpointError for anything that is no state: nothing that could run is unpickled."""
    try:
        _refuse_packed(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _unreadable(path, error) from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, RecursionError, MemoryError, AssertionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path.parent}: {path.name} holds no state of an optimizer; use another checkpoint of the run")
    return state


def _refuse_packed(path: Path) -> None:
    """Raise ValueError for an archive that stands for more bytes than it has: `torch.save` packs nothing."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("is packed, or its parts overlap")


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = first_line(error)[:120]
    return CheckpointError(
        f"checkpoint {path.parent}: {path.name} cannot be read ({type(error).__name__}: {reason}); use another checkpoint of the run"
    )


def check_moments(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless `saved` has as many parameters as `optimizer`, with moments of their shapes."""
    try:
        groups, state = saved["param_groups"], saved["state"]
        numbers = [list(group["params"]) for group in groups]
        own = [group["params"] for group in optimizer.param_groups]
        if list(map(len, numbers)) != list(map(len, own)):
            raise CheckpointError("the optimizer's state is that of another model: its groups have other numbers of parameters")
        for number, parameter in ((n, p) for each, params in zip(numbers, own, strict=True) for n, p in zip(each, params, strict=True)):
            for name, value in state.get(number, {}).items():
                if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                    told = f"{name} of parameter {number} is {list(value.shape)}, the model's {list(parameter.shape)}"
                    raise CheckpointError(f"the optimizer's state is that of another model: {told}")
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"the optimizer's state cannot be read ({type(error).__name__}); use another checkpoint of the run"
        ) from error
