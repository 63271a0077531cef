"""The batch producer, a stateless actor on each node with workers, and the window through which a worker pulls its chunks of batches.

A chunk is a return value, so it is owned by the worker that asked for it and outlives the actor. The actor keeps no state between
calls: a restarted one makes the same chunks.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from masklab.training.data.batch import Batch, BatchKey, pack, unpack
from masklab.training.data.batch_maker import BatchMaker, LocalSource
from masklab.training.recipe import Recipe
from masklab.training.settings import BatchSettings

log = logging.getLogger(__name__)

LONGEST_PAUSE = 63
"""The most chunks for which a producer that keeps failing is not asked."""
STARTING_SECONDS = 60.0
"""How long a producer may take to start, before its first answer."""


@ray.remote(num_cpus=0, max_restarts=-1)
class BatchProducer:
    """Makes the chunks of one run on one node. `corpus` is read from the object store, shared and not copied."""

    def __init__(self, recipe: Recipe, corpus: Any) -> None:
        self.maker: BatchMaker = recipe.batch_maker(corpus)

    def chunk(self, stage: int, first_step: int, steps: int, first_row: int, last_row: int) -> dict[str, Any]:
        """Rows [first_row, last_row) of the global batches of `steps` steps from `first_step` on, packed."""
        keys = (BatchKey(stage, step) for step in range(first_step, first_step + steps))
        return pack([self.maker.make(key, first_row, last_row) for key in keys])


def producer_on_this_node(run: str, recipe: Recipe, corpus_ref: Any) -> Any:
    """The producer of `run` on this node; the first worker that asks creates it."""
    node = ray.get_runtime_context().get_node_id()
    return BatchProducer.options(  # type: ignore[attr-defined]
        name=f"masklab-batches-{run}-{node}",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(recipe, corpus_ref)


@dataclass
class PullWindow:
    """A BatchSource that prefetches chunks from a producer; `local` makes the batches that do not arrive in time.

    `start` starts or finds the producer. It is called after the first step, so that the two do not share the processor. A producer that
    does not answer for two timeouts is killed, and Ray restarts it. After n failures in a row it is not asked for 2**(n-1) - 1 chunks.
    """

    start: Callable[[], Any]
    local: LocalSource
    settings: BatchSettings
    made_here: int = 0
    killed: int = 0
    """Producers that were killed because they did not answer."""
    _producer: Any = field(default=None, init=False)
    _asked: dict[tuple[int, int], Any] = field(default_factory=dict, init=False)
    _chunk: dict[str, Any] | None = field(default=None, init=False)
    _in_time: bool = field(default=False, init=False)
    """Whether the last chunk arrived in time. If not, the actor is starting or failing, and the worker does not wait for it."""
    _heard_at: float | None = field(default=None, init=False)
    """When the producer last answered, or was last asked while no wanted chunk was pending."""
    _patience: float = field(default=STARTING_SECONDS, init=False)
    """Seconds for which the producer may be silent."""
    _lost: int = field(default=0, init=False)
    """Chunks lost in a row."""
    _pause: int = field(default=0, init=False)
    """Chunks for which the producer will still not be asked."""
    _first: bool = field(default=True, init=False)

    def take(self, key: BatchKey) -> Batch:
        """This worker's rows of the batch `key`."""
        number = key.step // self.settings.chunk_steps
        held = self._chunk
        if not self._first and (held is None or held["stage"] != key.stage or held["first_step"] // self.settings.chunk_steps != number):
            held = self._chunk = self._next_chunk(key.stage, number)
        self._first = False
        if held is None:
            self.made_here += 1
            return self.local.take(key)
        return unpack(held, key.step)

    def close(self) -> None:
        self._asked.clear()
        self._chunk = None

    def _next_chunk(self, stage: int, number: int) -> dict[str, Any] | None:
        """Chunk `number` of `stage`, or None if it does not arrive in time. Requests the following chunks, and drops stale ones."""
        if self._pause:
            self._pause -= 1
            return None
        limit = self.settings.timeout_seconds
        try:
            place = self._ask_ahead(stage, number)
            ready, _ = ray.wait([self._asked[place]], timeout=limit if self._in_time else 0)
            if ready:
                chunk: dict[str, Any] = ray.get(self._asked.pop(place), timeout=limit)
                self._in_time, self._lost = True, 0
                self._heard_at, self._patience = time.monotonic(), 2 * limit
                return chunk
        except (RayError, ValueError) as error:  # ValueError: the producer's name was taken meanwhile
            self._failed(f"a chunk of batches was lost ({type(error).__name__})")
            return None
        if self._in_time:
            log.warning("a chunk of batches did not arrive within %g s; this worker makes them itself", limit)
        self._in_time = False
        if self._heard_at is not None and time.monotonic() - self._heard_at > self._patience:
            self._kill()
        return None

    def _ask_ahead(self, stage: int, number: int) -> tuple[int, int]:
        """Request chunk `number` and the following ones. Returns the key of the first."""
        if self._producer is None:
            self._producer = self.start()
        if any(asked_stage != stage for asked_stage, _ in self._asked):
            self._in_time = False  # requests from the previous stage come first in the producer's queue
        wanted = [(stage, n) for n in range(number, number + 1 + self.settings.prefetch_chunks)]
        if not any(place in self._asked for place in wanted):  # it was silent because nobody had asked
            self._heard_at = time.monotonic()
        self._asked = {place: self._asked.get(place) or self._ask(*place) for place in wanted}
        return wanted[0]

    def _kill(self) -> None:
        """Kill a producer that hangs; Ray starts another in its place."""
        self.killed += 1
        with suppress(RayError, ValueError):
            ray.kill(self._producer, no_restart=False)
        self._failed(f"the batch producer did not answer for {self._patience:g} s and was restarted")

    def _failed(self, what: str) -> None:
        """Drop the pending chunks, and do not ask the producer for a while."""
        self._lost += 1
        self._pause = min(2 ** min(self._lost - 1, 10) - 1, LONGEST_PAUSE)
        self._producer, self._in_time, self._patience = None, False, STARTING_SECONDS
        self._asked.clear()
        pause = f"; it will not be asked for {self._pause} chunks" if self._pause else ""
        log.warning("%s; this worker makes its batches itself%s", what, pause)

    def _ask(self, stage: int, number: int) -> Any:
        steps = self.settings.chunk_steps
        return self._producer.chunk.remote(stage, number * steps, steps, self.local.first, self.local.last)
