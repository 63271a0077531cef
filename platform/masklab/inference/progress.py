"""Progress of a scoring and of samplers: a bar or status line at a terminal, else a line every 20 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from masklab.model.transformer import Transformer
from masklab.reporting.numbers import duration
from masklab.sampling.generation import Watcher
from masklab.sampling.trace import Snapshot

LINE_EVERY_SECONDS = 20.0


@contextmanager
def row_progress(console: Console, words: str, total: int, models: list[Transformer]) -> Iterator[None]:
    """Show the share of `total` sequences that `models` have been given, until the block ends."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, expand=True, refresh_per_second=4, disable=not console.is_terminal)
    task = bar.add_task(words, total=total)
    began = shown_at = time.monotonic()
    rows = 0

    def count(_module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        nonlocal rows, shown_at
        rows += len(inputs[0])
        bar.update(task, completed=rows)
        if bar.disable and (now := time.monotonic()) - shown_at >= LINE_EVERY_SECONDS:
            shown_at = now
            share = min(1.0, rows / total)
            console.print(f"{words}: {share:.0%}, {duration((now - began) * (1 - share) / share)} left")

    hooks = [model.embedding.register_forward_hook(count) for model in models]
    try:
        with bar:
            yield
    finally:
        for hook in hooks:
            hook.remove()


class SamplerProgress:
    """The sampler at work, its step, and the share of characters that it has written."""

    def __init__(self, console: Console, samplers: int, mask_id: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._samplers, self._mask_id, self._clock = console, samplers, mask_id, clock
        self._begun = 0

    @contextmanager
    def of(self, name: str) -> Iterator[Watcher]:
        """A watcher for the next sampler, `name`, until it is done."""
        self._begun += 1
        words = f"sampler {self._begun} of {self._samplers}: {name}"
        shown_at = self._clock()
        with self._console.status(words) if self._console.is_terminal else nullcontext() as status:

            def show(snapshot: Snapshot) -> None:
                nonlocal shown_at
                line = f"{words}, step {snapshot.step}, {(snapshot.tokens != self._mask_id).mean():.0%} written"
                if status:
                    status.update(line)
                elif (now := self._clock()) - shown_at >= LINE_EVERY_SECONDS:
                    shown_at = now
                    self._console.print(line, soft_wrap=True)

            if status is None:
                self._console.print(words, soft_wrap=True)
            yield show
