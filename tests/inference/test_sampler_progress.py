"""What is told while samplers write."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from masklab.inference.progress import LINE_EVERY_SECONDS, SamplerProgress
from masklab.sampling.trace import Snapshot


def snapshot(step: int, tokens: list[int]) -> Snapshot:
    row = np.array([tokens], np.int64)
    return Snapshot(step, row, row, row.astype(np.float64), np.zeros(1, np.int64))


def test_a_sampler_is_named_when_it_begins_and_its_step_is_told_now_and_then() -> None:
    now, console = [0.0], Console(file=io.StringIO(), width=20)
    progress = SamplerProgress(console, 2, mask_id=9, clock=lambda: now[0])
    with progress.of("stochastic, 64 steps") as watch:
        watch(snapshot(0, [9, 9, 9, 9]))
        now[0] = LINE_EVERY_SECONDS
        watch(snapshot(7, [1, 9, 9, 9]))
        watch(snapshot(8, [1, 2, 9, 9]))
    with progress.of("first hitting"):
        pass
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "sampler 1 of 2: stochastic, 64 steps",
        "sampler 1 of 2: stochastic, 64 steps, step 7, 25% written",
        "sampler 2 of 2: first hitting",
    ]


def test_at_a_terminal_one_line_is_renewed_and_taken_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with SamplerProgress(console, 1, mask_id=9).of("first hitting") as watch:
        watch(snapshot(1, [1, 9]))
    assert "sampler 1 of 1: first hitting\n" not in console.file.getvalue()  # type: ignore[attr-defined]
