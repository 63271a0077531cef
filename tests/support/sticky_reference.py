"""Sticky masks by the letter of their definition, slowly: position by position, and by enumeration of all masks."""

from __future__ import annotations

import random
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray


def grow_literally(block_size: int, target: int, p_start: float, p_extend: float, rng: random.Random) -> list[bool]:
    """One mask as it is when growth stops."""
    mask = [False] * block_size
    while sum(mask) < target:
        begun = list(mask)
        for t in range(block_size):
            near = (t > 0 and begun[t - 1]) or (t + 1 < block_size and begun[t + 1])
            if not begun[t] and rng.random() < (p_extend if near else p_start):
                mask[t] = True
    return mask


def trim_literally(mask: list[bool], target: int, rng: random.Random) -> list[bool]:
    """A uniform subset of `target` masked positions."""
    kept = set(rng.sample([t for t, masked in enumerate(mask) if masked], target))
    return [t in kept for t in range(len(mask))]


def enumerate_growth(block_size: int, target: int, p_start: float, p_extend: float) -> NDArray[np.float64]:
    """Probability of each of the 2^T masks (bit t = position t) when growth stops, given that it reaches its target."""
    mass = np.zeros(2**block_size)
    final = np.zeros_like(mass)
    mass[0] = 1.0
    for mask in range(2**block_size):  # growth only adds bits, so a mask comes after all that lead to it
        if mask.bit_count() >= target:
            final[mask] = mass[mask]
            continue
        chances = []
        for t in range(block_size):
            near = (mask >> t + 1) & 1 or (t > 0 and (mask >> t - 1) & 1)
            chances.append(0.0 if (mask >> t) & 1 else p_extend if near else p_start)
        moves: dict[int, float] = {}
        for hits in product(*[(False, True) if 0 < p < 1 else (p == 1,) for p in chances]):
            after = mask | sum(1 << t for t, hit in enumerate(hits) if hit)
            if after != mask:
                moves[after] = float(np.prod([p if hit else 1 - p for hit, p in zip(hits, chances, strict=True)]))
        for after, p in moves.items():
            mass[after] += mass[mask] * p / sum(moves.values())
    return final / final.sum()


def enumerate_trimmed(final: NDArray[np.float64], block_size: int, target: int) -> NDArray[np.float64]:
    """Probability of each mask after a uniform subset of `target` positions is kept."""
    trimmed = np.zeros_like(final)
    for mask in np.flatnonzero(final):
        positions = [t for t in range(block_size) if (int(mask) >> t) & 1]
        subsets = list(combinations(positions, target))
        for subset in subsets:
            trimmed[sum(1 << t for t in subset)] += final[mask] / len(subsets)
    return trimmed
