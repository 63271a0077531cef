"""How far the writing of samplers is: which of them is at work, its step, and how much of its texts is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from masklab.sampling.generation import Watcher
from masklab.sampling.trace import Snapshot

LINE_EVERY_SECONDS = 20.0


class SamplerProgress:
    """A live line where `console` is a terminal; else a line when a sampler begins, and one now and then while it writes."""

    def __init__(self, console: Console, samplers: int, mask_id: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._samplers, self._mask_id, self._clock = console, samplers, mask_id, clock
        self._begun = 0

    @contextmanager
    def of(self, name: str) -> Iterator[Watcher]:
        """What is to watch the next sampler, `name`, until it is done."""
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
        """E.g. `step 12, 45% written`."""
        return f"step {snapshot.step}, {(snapshot.tokens != self._mask_id).mean():.0%} written"
