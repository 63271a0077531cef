"""A batch of masked sequences, and chunks of batches for transport.

Shapes: B sequences (the rows one worker has of a global batch), T positions, S steps in a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masklab.rng import UINT64, mix64

Tokens = NDArray[np.uint8] | NDArray[np.uint16]
Targets = Tokens | NDArray[np.float32]


@dataclass(frozen=True)
class BatchKey:
    """With the run's seed, determines a global batch."""

    stage: int
    step: int


@dataclass(frozen=True)
class Batch:
    """Some rows of the global batch `key`.

    `inputs` (B, T) tokens; `targets` (B, T) tokens, class indices or regression targets; `selected` (B, T) bool; `noise_level` (B,)
    float32, the intended mask ratio; `coefficients` (B,) float32, the loss weight of a row's selected positions (loss.py);
    `denominator`, this part's share of the batch's D; `digest`, a 64-bit sum of the rows' hashes, so that parts add up to the whole.
    """

    key: BatchKey
    inputs: Tokens
    targets: Targets
    selected: NDArray[np.bool_]
    noise_level: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    denominator: float
    digest: int


@njit(cache=True)
def _digest(stage, step, rows, inputs, targets, selected):  # type: ignore[no-untyped-def]
    key, total = mix64((step << UINT64(16)) | stage), UINT64(0)
    for b in range(inputs.shape[0]):
        state = mix64(key ^ UINT64(rows[b]))
        for t in range(inputs.shape[1]):
            target = UINT64(targets[b, t])  # lower half beside the input, upper half above the selection
            halves = ((target & UINT64(0xFFFF)) << UINT64(16)) | ((target >> UINT64(16)) << UINT64(33))
            state = mix64(state ^ (UINT64(inputs[b, t]) | halves | (UINT64(selected[b, t]) << UINT64(32))))
        total += state
    return total


def digest_of(key: BatchKey, rows: NDArray[np.int64], inputs: Tokens, targets: Targets, selected: NDArray[np.bool_]) -> int:
    """Sum modulo 2**64 of a hash for each row: inputs, targets, selection, and the row's index in the global batch `key`."""
    bits = targets.view(np.uint32) if targets.dtype == np.float32 else targets
    return int(_digest(UINT64(key.stage), UINT64(key.step), rows, inputs, bits, selected))


def pack(batches: Sequence[Batch]) -> dict[str, Any]:
    """Pack the batches of consecutive steps of one stage into arrays for the object store; selections as bits."""
    return {
        "stage": batches[0].key.stage,
        "first_step": batches[0].key.step,
        "inputs": np.stack([b.inputs for b in batches]),
        "targets": np.stack([b.targets for b in batches]),
        "selected": np.packbits(np.stack([b.selected for b in batches]), axis=-1),
        "noise_level": np.stack([b.noise_level for b in batches]),
        "coefficients": np.stack([b.coefficients for b in batches]),
        "denominators": np.array([b.denominator for b in batches]),
        "digests": np.array([b.digest for b in batches], np.uint64),
    }


def unpack(chunk: dict[str, Any], step: int) -> Batch:
    """The batch of `step` from a chunk of `pack`. Its arrays are views of the chunk and may be read-only."""
    i = step - chunk["first_step"]
    inputs = chunk["inputs"][i]
    selected = np.unpackbits(chunk["selected"][i], axis=-1, count=inputs.shape[-1]).view(bool)
    return Batch(
        key=BatchKey(chunk["stage"], step),
        inputs=inputs,
        targets=chunk["targets"][i],
        selected=selected,
        noise_level=chunk["noise_level"][i],
        coefficients=chunk["coefficients"][i],
        denominator=float(chunk["denominators"][i]),
        digest=int(chunk["digests"][i]),
    )
