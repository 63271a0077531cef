"""Masks as bits: 64 positions to a word, and the compiled steps that strategies are built of.

A word's lowest bit is its first position; bits past the last position of a row are always 0. Randomness is `rng.word(key, counter)`;
a function that consumes words takes the next counter and returns the one after the last it used.

Shapes: T positions, W = ceil(T / 64) words.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from masklab.rng import UINT64, word

ZERO, ONE = UINT64(0), UINT64(1)
TOP = UINT64(63)
ALL = UINT64(0xFFFFFFFFFFFFFFFF)
_PAIRS, _NIBBLES, _BYTES = UINT64(0x5555555555555555), UINT64(0x3333333333333333), UINT64(0x0F0F0F0F0F0F0F0F)
_EVERY_BYTE, _DIAGONAL, _BELOW_TOP = UINT64(0x0101010101010101), UINT64(0x8040201008040201), UINT64(0x7F7F7F7F7F7F7F7F)
_2, _4, _7, _8, _32, _56, _LOW_BYTE = UINT64(2), UINT64(4), UINT64(7), UINT64(8), UINT64(32), UINT64(56), UINT64(255)

THINNING_DIGITS = 6
"""Binary digits of the share that a subset is thinned to before it is mended to its exact size."""


@njit(cache=True)
def popcount(x):  # type: ignore[no-untyped-def]
    """Number of set bits; LLVM knows this pattern and makes one instruction of it."""
    x = x - ((x >> ONE) & _PAIRS)
    x = (x & _NIBBLES) + ((x >> _2) & _NIBBLES)
    x = (x + (x >> _4)) & _BYTES
    return np.int64((x * _EVERY_BYTE) >> _56)


@njit(cache=True)
def word_count(block_size):  # type: ignore[no-untyped-def]
    """W, the words that hold T positions."""
    return (block_size + 63) >> 6


@njit(cache=True)
def positions_in(w, block_size):  # type: ignore[no-untyped-def]
    """The bits of word number `w` that are positions of the row."""
    left = block_size - 64 * w
    return ALL if left >= 64 else (ONE << UINT64(left)) - ONE


@njit(cache=True)
def threshold(p):  # type: ignore[no-untyped-def]
    """The largest 64-bit number that counts as a hit of probability 0 < p <= 1: `ceil(2^64 p) - 1`."""
    if p >= 1.0:
        return ALL
    scaled = p * 2.0**64
    whole = UINT64(scaled)
    return whole if np.float64(whole) < scaled else whole - ONE


@njit(cache=True)
def decide(key, counter, undecided, usual, other, is_other):  # type: ignore[no-untyped-def]
    """Independent hits among the `undecided` positions, at the threshold `other` where the bit of `is_other` is set, else `usual`.

    Each position compares the binary digits of its own uniform number with those of its threshold, the highest first: one word
    holds one digit of 64 uniforms, and no more are drawn once every position has met a digit that differs.
    Returns the hits and the next counter.
    """
    hits, digit = ZERO, TOP
    while undecided != ZERO:
        bits = word(key, counter)
        counter += ONE
        wanted = ((ZERO - ((usual >> digit) & ONE)) & ~is_other) | ((ZERO - ((other >> digit) & ONE)) & is_other)
        hits |= undecided & wanted & ~bits
        undecided &= ~(wanted ^ bits)
        if digit == ZERO:
            break
        digit -= ONE
    return hits | undecided, counter


@njit(cache=True)
def _dyadic(share, key, counter):  # type: ignore[no-untyped-def]
    """A word whose bits are set with probability share / 2^THINNING_DIGITS, lowest digit first; and the next counter."""
    bits = ZERO
    for digit in range(THINNING_DIGITS):
        if share & ((2 << digit) - 1):
            drawn = word(key, counter)
            counter += ONE
            bits = bits | drawn if (share >> digit) & 1 else bits & drawn
    return bits, counter


@njit(cache=True)
def _nth_bit(words, n):  # type: ignore[no-untyped-def]
    """Word number and bit of the set bit that has `n` set bits before it."""
    w = 0
    inside = popcount(words[w])
    while n >= inside:
        n -= inside
        w += 1
        inside = popcount(words[w])
    x = words[w]
    for _ in range(n):
        x &= x - ONE
    return w, x & (ZERO - x)


@njit(cache=True)
def thin(words, others, size, target, key, counter):  # type: ignore[no-untyped-def]
    """Reduce the `size` set bits of `words` to a uniform subset of exactly `target`; `others` (W,) is overwritten by the rest.

    Every bit first stays with the same probability, near target / size, which makes a uniform subset of a random size; then bits
    picked uniformly change sides until the size is right, which keeps the subset uniform. Returns the next counter.
    """
    share = np.int64(np.rint(target / size * (1 << THINNING_DIGITS)))
    kept = 0
    for w in range(words.size):
        stay = ALL
        if share < 1 << THINNING_DIGITS:
            stay, counter = _dyadic(share, key, counter)
        others[w] = words[w] & ~stay
        words[w] &= stay
        kept += popcount(words[w])
    while kept != target:
        lot = np.int64((word(key, counter) >> _32) * UINT64(kept if kept > target else size - kept) >> _32)
        counter += ONE
        w, bit = _nth_bit(words if kept > target else others, lot)
        words[w] ^= bit
        others[w] ^= bit
        kept += -1 if kept > target else 1
    return counter


@njit(cache=True)
def expand(words, row):  # type: ignore[no-untyped-def]
    """Write one byte, 0 or 1, for each bit of `words` (W,) into `row` (8 W,) uint64, eight positions to an element."""
    for w in range(words.size):
        x = words[w]
        for b in range(8):
            spread = (((x >> (_8 * UINT64(b))) & _LOW_BYTE) * _EVERY_BYTE) & _DIAGONAL
            row[8 * w + b] = ((spread + _BELOW_TOP) >> _7) & _EVERY_BYTE


def as_positions(
    rows: np.ndarray[tuple[int, int], np.dtype[np.uint64]], block_size: int
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Expanded rows (B, 8 W) as a mask (B, T) bool."""
    return np.ascontiguousarray(rows.view(np.bool_)[:, :block_size])
