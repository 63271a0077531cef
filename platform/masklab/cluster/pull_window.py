"""A window of chunks asked for ahead of the loop. The window is the backpressure, and a batch is a function of its key.

A chunk that is late or lost therefore costs nothing but time: the worker makes the batch itself, and it is the same batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError

from masklab.training.batch import Batch, BatchKey, unpack
from masklab.training.batch_maker import LocalSource
from masklab.training.settings import BatchSettings

log = logging.getLogger(__name__)

LOST_IN_A_ROW = 5
"""Chunks lost one after the other that end the use of the producer."""


@dataclass
class PullWindow:
    """A BatchSource that prefetches from a producer; `local` makes the batches that do not come in time.

    `start` starts the producer, or finds it. It is called after the first step, which need not share the processor with it.
    """

    start: Callable[[], Any]
    local: LocalSource
    settings: BatchSettings
    made_here: int = 0
    """Batches that this worker made itself."""
    _producer: Any = None
    _asked: dict[tuple[int, int], Any] = field(default_factory=dict)
    _chunk: dict[str, Any] | None = None
    _in_time: bool = False
    """Whether the last chunk came in time; while not, nothing is waited for: the actor is starting, or in trouble."""
    _lost: int = 0
    _first: bool = True

    def take(self, key: BatchKey) -> Batch:
        """This worker's rows of the batch `key`."""
        if self._first:
            self._first = False
            self.made_here += 1
            return self.local.take(key)
        number = key.step // self.settings.chunk_steps
        held = self._chunk
        if held is None or held["stage"] != key.stage or held["first_step"] // self.settings.chunk_steps != number:
            held = self._chunk = self._next_chunk(key.stage, number)
        if held is None:
            self.made_here += 1
            return self.local.take(key)
        return unpack(held, key.step)

    def close(self) -> None:
        """Forget all that was asked for."""
        self._asked.clear()
        self._chunk = None

    def _next_chunk(self, stage: int, number: int) -> dict[str, Any] | None:
        """Chunk `number` of `stage` if it comes in time; asks for those that follow it, and drops what is stale."""
        if self._lost >= LOST_IN_A_ROW:
            return None
        if self._producer is None:
            self._producer = self.start()
        if any(asked_stage != stage for asked_stage, _ in self._asked):
            self._in_time = False  # what was asked for before the stage ended stands first in the producer's queue
        wanted = [(stage, n) for n in range(number, number + 1 + self.settings.prefetch_chunks)]
        self._asked = {place: self._asked.get(place) or self._ask(*place) for place in wanted}
        place = wanted[0]
        ready, _ = ray.wait([self._asked[place]], timeout=self.settings.timeout_seconds if self._in_time else 0)
        if not ready:
            if self._in_time:
                log.warning("a chunk of batches was not there after %g s; this worker makes them itself", self.settings.timeout_seconds)
            self._in_time = False
            return None
        try:
            chunk: dict[str, Any] = ray.get(self._asked.pop(place))
        except RayError as error:
            self._lost += 1
            self._in_time = False
            self._asked.clear()
            end = "; no more are asked for" if self._lost >= LOST_IN_A_ROW else ""
            log.warning("a chunk of batches was lost (%s); this worker makes them itself%s", type(error).__name__, end)
            return None
        self._in_time, self._lost = True, 0
        return chunk

    def _ask(self, stage: int, number: int) -> Any:
        steps = self.settings.chunk_steps
        return self._producer.chunk.remote(stage, number * steps, steps, self.local.first, self.local.last)
