"""Progress of a scoring and of samplers: a bar or status line at a terminal, else a line every 20 seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from masklab.model.transformer import Transformer
from masklab.reporting.numbers import duration
from masklab.sampling.generation import Watcher
from masklab.sampling.trace import Snapshot

LINE_EVERY_SECONDS = 20.0


class RowProgress:
    """The share of `total` sequences that `models` have been given while this context is open."""

    def __init__(self, console: Console, words: str, total: int, models: list[Transformer]) -> None:
        self._console, self._words, self._total, self._models = console, words, total, models
        self._rows, self._began, self._said_at = 0, time.monotonic(), time.monotonic()
        self._bar = _bar(console) if console.is_terminal else None
        self._task = self._bar.add_task(words, total=total) if self._bar else None

    def __enter__(self) -> Self:
        self._hooks = [model.embedding.register_forward_hook(self._count) for model in self._models]
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()
        if self._bar:
            self._bar.stop()

    def _count(self, _module: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        self._rows += len(inputs[0])
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._rows)
        elif (now := time.monotonic()) - self._said_at >= LINE_EVERY_SECONDS:
            self._said_at = now
            share = min(1.0, self._rows / self._total)
            left = (now - self._began) * (1 - share) / share
            self._console.print(f"{self._words}: {share:.0%}, {duration(left)} left")


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, expand=True, refresh_per_second=4)


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
        if self._console.is_terminal:
            with self._console.status(words) as status:
                yield lambda snapshot: status.update(f"{words}, {self._far(snapshot)}")
            return
        self._console.print(words, soft_wrap=True)
        said_at = self._clock()

        def say(snapshot: Snapshot) -> None:
            nonlocal said_at
            if (now := self._clock()) - said_at >= LINE_EVERY_SECONDS:
                said_at = now
                self._console.print(f"{words}, {self._far(snapshot)}", soft_wrap=True)

        yield say

    def _far(self, snapshot: Snapshot) -> str:
        return f"step {snapshot.step}, {(snapshot.tokens != self._mask_id).mean():.0%} written"
