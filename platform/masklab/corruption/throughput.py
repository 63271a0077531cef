"""How fast each strategy makes masks, relative to the least possible work: drawing and comparing one uniform number per position.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from masklab.corruption.diffusion import Diffusion
from masklab.corruption.exact_count import ExactCount
from masklab.corruption.masking import Masking
from masklab.corruption.random_ratio import RandomRatio
from masklab.corruption.run_length import RunLength
from masklab.corruption.span import Span
from masklab.corruption.sticky import Sticky
from masklab.rng import RowStreams, root_key

BASELINE = "one uniform a position (numpy)"
STRATEGIES: tuple[Masking, ...] = (
    Sticky(mask_ratio=0.2, p_start=0.3, p_extend=0.0),
    Sticky(mask_ratio=0.4, p_start=0.2, p_extend=0.8),
    Sticky(mask_ratio=0.6, p_start=0.1, p_extend=0.9),
    Sticky(mask_ratio=0.4, p_start=0.2, p_extend=0.8, trim="edges"),
    RandomRatio(max_ratio=0.3),
    Span(spans_count=4),
    RunLength(mask_ratio=0.4, mean_run=5.0),
    ExactCount(),
    Diffusion(),
    Diffusion(schedule="cosine"),
)


@dataclass(frozen=True)
class Throughput:
    """One row of the table: medians on one thread."""

    name: str
    masks_per_second: float
    """Masked sequences of T positions."""
    positions_per_second: float
    relative: float
    """Rate over that of the baseline in the same round."""


def measure(block_size: int = 1024, batch_size: int = 64, rounds: int = 15, calls: int = 10) -> list[Throughput]:
    """The rate of the baseline, then of each strategy, for batches (B, T) = (`batch_size`, `block_size`).

    All are timed in turn, `calls` batches at a time, in each of the `rounds`, so that a machine that changes its pace changes it
    for all; every batch has a key of its own.
    """
    # the one generator with state in the package: what the strategies are held against, and never a source of masks
    generator = np.random.default_rng(0)
    batches = [RowStreams.of(root_key(number), np.arange(batch_size), batch_size) for number in range(calls)]

    def baseline(_: RowStreams) -> None:
        generator.random((batch_size, block_size), dtype=np.float32) < 0.4  # noqa: B015

    def drawing(masking: Masking) -> Callable[[RowStreams], object]:
        return lambda streams: masking.draw(streams, block_size)

    makers = [(BASELINE, baseline)] + [(_label(masking), drawing(masking)) for masking in STRATEGIES]
    seconds: list[list[float]] = [[] for _ in makers]
    for _, make in makers:
        make(batches[0])  # compiles the kernels
    for _ in range(rounds):
        for times, (_, make) in zip(seconds, makers, strict=True):
            begun = time.perf_counter()
            for streams in batches:
                make(streams)
            times.append((time.perf_counter() - begun) / calls)
    rows = []
    for (name, _), times in zip(makers, seconds, strict=True):
        masks_per_second = batch_size / median(times)
        relative = median(least / own for least, own in zip(seconds[0], times, strict=True))
        rows.append(Throughput(name, masks_per_second, masks_per_second * block_size, relative))
    return rows


def _label(masking: Masking) -> str:
    edges = isinstance(masking, Sticky) and masking.trim == "edges"
    return masking.describe() + (", edges trimmed" if edges else "")
