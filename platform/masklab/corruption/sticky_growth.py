"""The compiled rounds of sticky masks, all positions of a word at once.

Shapes: B sequences, T positions, W = ceil(T / 64) words.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from masklab.corruption.mask_words import ONE, TOP, ZERO, as_positions, decide, expand, popcount, positions_in, thin, threshold, word_count
from masklab.rng import UINT64, unit, word


@njit(cache=True)
def _round(words, block_size, start, extend, extends, key, counter):  # type: ignore[no-untyped-def]
    """One round, in place. Returns the number of masked positions after it, and the next counter."""
    count, before = 0, ZERO
    for w in range(words.size):
        own = words[w]
        after = words[w + 1] if w + 1 < words.size else ZERO
        near = (own << ONE) | (before >> TOP) | (own >> ONE) | (after << TOP)
        free = ~own & positions_in(w, block_size)
        hits, counter = decide(key, counter, free if extends else free & ~near, start, extend, near)
        words[w] = own | hits
        count += popcount(own | hits)
        before = own
    return count, counter


@njit(cache=True)
def _is_masked(words, t):  # type: ignore[no-untyped-def]
    return (words[t >> 6] >> UINT64(t & 63)) & ONE != ZERO


@njit(cache=True)
def _chance(words, t, block_size, before, p_start, p_extend):  # type: ignore[no-untyped-def]
    if _is_masked(words, t):
        return 0.0
    return p_extend if before or (t + 1 < block_size and _is_masked(words, t + 1)) else p_start


@njit(cache=True)
def _leap(words, block_size, p_start, p_extend, key, counter):  # type: ignore[no-untyped-def]
    """The next round that masks anything, in place, skipping the empty rounds before it.

    Rounds have no memory: given that a round masks something, the probability that position t is its first hit is proportional to
    its own chance times the chance of no hit before it, and the positions after it remain independent. Returns the number of new
    positions, 0 if none can be masked any more, and the next counter.
    """
    log_none, before = 0.0, False
    for t in range(block_size):
        log_none += np.log1p(-_chance(words, t, block_size, before, p_start, p_extend))
        before = _is_masked(words, t)
    if log_none == 0.0:
        return 0, counter
    rest = unit(word(key, counter)) * -np.expm1(log_none)
    counter += ONE
    hits, none_yet, before = 0, 1.0, False
    last, last_chance = -1, 0.0
    for t in range(block_size):
        p = _chance(words, t, block_size, before, p_start, p_extend)
        before = _is_masked(words, t)
        if p == 0.0:
            continue
        if hits:
            hit = unit(word(key, counter)) < p
            counter += ONE
        else:
            rest -= none_yet * p
            none_yet *= 1.0 - p
            hit = rest < 0.0
            last, last_chance = t, p
        if hit:
            words[t >> 6] |= ONE << UINT64(t & 63)
            hits += 1
    if hits == 0 and last_chance > 0.0:
        # only rounding of the sum can leave the walk without a hit
        words[last >> 6] |= ONE << UINT64(last & 63)
        hits = 1
    return hits, counter


@njit(cache=True)
def _grow(words, block_size, target, p_start, p_extend, key):  # type: ignore[no-untyped-def]
    """Rounds until at least `target` positions are masked; returns their number. A row that cannot grow any further is restarted."""
    start, extend = threshold(p_start), threshold(p_extend)
    words[:] = ZERO
    count, counter = 0, ZERO
    while count < target:
        reached, counter = _round(words, block_size, start, extend, p_extend > 0.0, key, counter)
        if reached == count:
            hits, counter = _leap(words, block_size, p_start, p_extend, key, counter)
            if hits == 0:
                words[:] = ZERO
                count = 0
                continue
            reached += hits
        count = reached
    return count


@njit(cache=True)
def _trim_edges(words, others, ends, count, target, key):  # type: ignore[no-untyped-def]
    """Shorten runs, one position at a time from alternate sides, until `target` positions are left.

    A run of one position is touched only when no longer run is left.
    """
    counter = ONE
    from_left = word(key, ZERO) & ONE != ZERO
    while count > target:
        number, before = 0, ZERO
        for w in range(words.size):
            own = words[w]
            after = words[w + 1] if w + 1 < words.size else ZERO
            left, right = (own << ONE) | (before >> TOP), (own >> ONE) | (after << TOP)
            ends[w] = own & (right & ~left if from_left else left & ~right)
            number += popcount(ends[w])
            before = own
        if number == 0:
            ends[:] = words
            number = count
        if number > count - target:
            counter = thin(ends, others, number, count - target, key, counter)
            number = count - target
        for w in range(words.size):
            words[w] &= ~ends[w]
        count -= number
        from_left = not from_left


RANDOM, EDGES = 0, 1


@njit(cache=True)
def _rows(keys, trim_keys, block_size, target, p_start, p_extend, trim):  # type: ignore[no-untyped-def]
    words = np.empty(word_count(block_size), np.uint64)
    others, ends = np.empty_like(words), np.empty_like(words)
    out = np.empty((keys.size, 8 * words.size), np.uint64)
    for b in range(keys.size):
        count = _grow(words, block_size, target, p_start, p_extend, keys[b])
        if count > target and trim == RANDOM:
            thin(words, others, count, target, trim_keys[b], ZERO)
        elif count > target:
            _trim_edges(words, others, ends, count, target, trim_keys[b])
        expand(words, out[b])
    return out


def grow(
    keys: NDArray[np.uint64], trim_keys: NDArray[np.uint64], block_size: int, target: int, p_start: float, p_extend: float, trim: int
) -> NDArray[np.bool_]:
    """Sticky masks (B, T) of exactly `target` positions in each row; overshoot is trimmed by the method `trim`, RANDOM or EDGES."""
    return as_positions(_rows(keys, trim_keys, block_size, target, p_start, p_extend, trim), block_size)
