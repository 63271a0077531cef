"""Weights in a safetensors file, whose header is checked before memory of the size it declares is allocated.

The file is a length (8 bytes, little-endian), a header of that many bytes, JSON with dtype, shape and place of each tensor, and the
tensors one after another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from masklab.errors import CheckpointError
from masklab.model.config import ModelConfig

LARGEST_HEADER = 1 << 24
"""Bytes: some 100,000 tensors."""
MOST_AXES = 8
LONGEST_NAME = 500
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""What one number takes, by the dtypes that a model here can have."""


def load_tensors(path: Path, sizes: ModelConfig | None = None) -> dict[str, Tensor]:
    """The tensors by name, on the CPU. Raises CheckpointError, without the place, for a file that is not what its header says.

    Where `sizes` are given, the weights are to be used by a model of these sizes: then also for a file that is too small for it, which is
    found before the model is built, and for weights that are NaN or infinite.
    """
    try:
        shapes = read_shapes(path)
        if sizes is not None and (least := least_weights(sizes)) > (there := sum(map(math.prod, shapes.values()))):
            raise CheckpointError(
                f"{path.name} is of another architecture: it holds {there:,} numbers, and the model of config.yaml has {least:,} or more"
            )
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} cannot be read ({error})") from error
    if sizes is not None and (bad := next((name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())), None)):
        raise CheckpointError(f"{bad} holds NaN or infinity, so its training has diverged; use an earlier checkpoint or another run")
    return tensors


def least_weights(sizes: ModelConfig) -> int:
    """A lower bound on the weights of a model: the matrices of its blocks."""
    return sizes.n_layer * sizes.n_embd * (4 * sizes.n_embd + 2 * sizes.feed_forward_size)


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, by the header alone. Raises ValueError unless the tensors fill the file to its end and do not overlap."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(LARGEST_HEADER, size - 8):
            raise ValueError(f"has a header of {length:,} bytes, and {min(LARGEST_HEADER, max(0, size - 8)):,} is the most")
        header = file.read(length)
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"has a header that is not JSON ({type(error).__name__})") from error
    if not isinstance(entries, dict):
        raise ValueError("has a header that names no tensors")
    entries.pop("__metadata__", None)
    placed = {name: _placed(name, entry) for name, entry in entries.items()}
    end = 0
    for name, (_, first, last) in sorted(placed.items(), key=lambda item: item[1][1:]):
        if first != end:
            raise ValueError(f"has a gap or an overlap before {name[:40]!r}")
        end = last
    if end != size - 8 - length:
        raise ValueError(f"has {size - 8 - length:,} bytes of tensors, and its header says {end:,}")
    return {name: shape for name, (shape, _, _) in placed.items()}


def _placed(name: str, entry: Any) -> tuple[tuple[int, ...], int, int]:
    """Shape, first byte and end of one tensor. Raises ValueError where they do not agree with each other."""
    shown = repr(name[:40])
    if not isinstance(entry, Mapping) or len(name) > LONGEST_NAME:
        raise ValueError(f"has a header without a valid entry for {shown}")
    each = BYTES.get(str(entry.get("dtype")))
    if each is None:
        raise ValueError(f"has {shown} in dtype {str(entry.get('dtype'))[:20]!r}, which no model here has")
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(place) or len(place) != 2 or len(shape) > MOST_AXES:
        raise ValueError(f"has a header with an invalid shape or data_offsets of {shown}")
    if place[1] - place[0] != math.prod(shape) * each:
        raise ValueError(f"has {shown} of shape {str(shape)[:60]} in {place[1] - place[0]:,} bytes")
    return tuple(shape), place[0], place[1]


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**48 for number in value)
