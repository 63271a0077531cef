"""Keyed, stateless random numbers: every draw is a pure function of a key and a counter.

A row of a batch owns a 64-bit key, hashed from `(seed, stage, step, row)`. Its words are the output of SplitMix64 (Steele, Lea,
Flood 2014, figure 15) seeded with that key, addressed by number: word `c` is `mix64(key + GOLDEN * (c + 1))`, so there is no state to
save and no order of calls to respect. Keys are themselves mixed, so two of them lie at random places of one cycle of 2^64. The
kernels that draw masks and the array functions below share the same scalar functions, so there is one stream of numbers and not two.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numba import config, njit
from numpy.typing import NDArray


def _name_cache_by_source() -> None:
    """Give Numba's cache a folder named by a hash of the kernels' sources.

    Numba notices a change in the file that holds a kernel, but not in the files of the functions it calls, and would go on with the
    old numbers. A folder that NUMBA_CACHE_DIR names stays as it is.
    """
    if config.CACHE_DIR:
        return
    here = Path(__file__).parent
    sha = hashlib.sha256()
    for file in [here / "rng.py", *sorted((here / "corruption").glob("*.py"))]:
        sha.update(file.read_bytes())
    config.CACHE_DIR = str(
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "masklab" / f"kernels-{sha.hexdigest()[:16]}"
    )


_name_cache_by_source()

UINT64 = np.uint64
GOLDEN = UINT64(0x9E3779B97F4A7C15)
_MUL_1 = UINT64(0xBF58476D1CE4E5B9)
_MUL_2 = UINT64(0x94D049BB133111EB)
_30, _27, _31, _11 = UINT64(30), UINT64(27), UINT64(31), UINT64(11)
_ONE = UINT64(1)
_TO_UNIT = 2.0**-53
_NO_ROW = 2**64 - 1  # keys what belongs to a whole batch, apart from any row


class Stream(IntEnum):
    """Names of the independent streams that one row draws from."""

    WINDOW = 1
    LEVEL = 2
    MASK = 3
    TRIM = 4
    REPLACEMENT = 5
    STRATUM = 6
    SPAN = 7
    SAMPLE = 8


@njit(cache=True, inline="always")
def mix64(z):  # type: ignore[no-untyped-def]
    """A bijection of 64 bits in which every input bit changes about half of the output bits."""
    z = (z ^ (z >> _30)) * _MUL_1
    z = (z ^ (z >> _27)) * _MUL_2
    return z ^ (z >> _31)


@njit(cache=True, inline="always")
def word(key, counter):  # type: ignore[no-untyped-def]
    """Random word number `counter` (uint64) of the stream with this `key` (uint64)."""
    return mix64(key + GOLDEN * (counter + _ONE))


@njit(cache=True, inline="always")
def unit(bits):  # type: ignore[no-untyped-def]
    """A word as a float64 in [0, 1), with 53 random bits."""
    return (bits >> _11) * _TO_UNIT


@njit(cache=True)
def _fold(keys, part):  # type: ignore[no-untyped-def]
    out = np.empty_like(keys)
    for i in range(keys.size):
        out[i] = mix64(keys[i] ^ mix64(part * GOLDEN + _ONE))
    return out


@njit(cache=True)
def _fold_each(key, parts):  # type: ignore[no-untyped-def]
    out = np.empty_like(parts)
    for i in range(parts.size):
        out[i] = mix64(key ^ mix64(parts[i] * GOLDEN + _ONE))
    return out


@njit(cache=True)
def _uniforms(keys, n):  # type: ignore[no-untyped-def]
    out = np.empty((keys.size, n), np.float64)
    for b in range(keys.size):
        for i in range(n):
            out[b, i] = unit(word(keys[b], UINT64(i)))
    return out


def fold(keys: NDArray[np.uint64], part: int) -> NDArray[np.uint64]:
    """New keys (B,), independent of the old ones and of those of any other `part`."""
    folded: NDArray[np.uint64] = _fold(keys, UINT64(part & 0xFFFFFFFFFFFFFFFF))
    return folded


def root_key(*parts: int) -> NDArray[np.uint64]:
    """One key, as an array (1,), hashed from integers in their order."""
    key = np.array([GOLDEN])
    for part in parts:
        key = fold(key, part)
    return key


def keys_of(root: NDArray[np.uint64], members: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A key (B,) for each member number (B,) under one `root` key (1,)."""
    keys: NDArray[np.uint64] = _fold_each(root[0], np.ascontiguousarray(members).astype(np.uint64))
    return keys


def uniforms(keys: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """`n` floats in [0, 1) for each key: (B, n) float64."""
    drawn: NDArray[np.float64] = _uniforms(keys, n)
    return drawn


def permutation(root: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """A uniform permutation (n,) of 0..n-1 that is a function of the `root` key (1,)."""
    return np.argsort(keys_of(root, np.arange(n)), kind="stable")


@dataclass(frozen=True)
class RowStreams:
    """The random streams of some rows of one global batch (or pool).

    `keys` (B,) uint64 belong to the rows, `root` (1,) uint64 to the whole batch. `index` (B,) is each row's place among the
    `total` rows that are stratified together, so that a part of a batch, made by one worker, is the same as in the whole.
    """

    keys: NDArray[np.uint64]
    root: NDArray[np.uint64]
    index: NDArray[np.int64]
    total: int

    @classmethod
    def of(cls, root: NDArray[np.uint64], index: NDArray[np.int64], total: int) -> RowStreams:
        """The streams of the rows `index` (B,) out of `total` under `root`."""
        index = np.asarray(index, np.int64)
        return cls(keys_of(root, index), root, index, total)

    def stream(self, name: Stream) -> NDArray[np.uint64]:
        return fold(self.keys, int(name))

    def uniforms(self, name: Stream, n: int) -> NDArray[np.float64]:
        """(B, n) float64 in [0, 1) from the stream `name`."""
        return uniforms(self.stream(name), n)

    def stratified(self, name: Stream) -> NDArray[np.float64]:
        """One float64 in [0, 1) for each row (B,), one row to a stratum of width 1/total.

        The strata are dealt out by a permutation keyed by the batch, so a row's place in the text says nothing of its
        stratum. Each value alone is uniform on [0, 1); together they cover it evenly (Kingma et al. 2021, appendix I.1).
        """
        strata = permutation(fold(fold(self.root, _NO_ROW), Stream.STRATUM), self.total)[self.index]
        return (strata + self.uniforms(name, 1)[:, 0]) / self.total
