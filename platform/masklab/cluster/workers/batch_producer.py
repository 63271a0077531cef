"""The batch producer: a stateless actor, one on each node of the training side, that makes chunks of batches ahead of time.

A chunk is a return value, so it belongs to the worker that asked for it and outlives the actor. The actor keeps nothing between
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


@ray.remote(num_cpus=0, max_restarts=-1)
class BatchProducer:
    """Makes the chunks of one run on one node. `corpus` arrives from the object store and is shared, not copied."""

    def __init__(self, recipe: Recipe, corpus: Any) -> None:
        self.maker: BatchMaker = recipe.batch_maker(corpus)

    def chunk(self, stage: int, first_step: int, steps: int, first_row: int, last_row: int) -> dict[str, Any]:
        """Rows `first_row` up to `last_row` of the global batches of `steps` steps, bundled."""
        keys = (BatchKey(stage, step) for step in range(first_step, first_step + steps))
        return pack([self.maker.make(key, first_row, last_row) for key in keys])


def producer_on_this_node(run: str, recipe: Recipe, corpus_ref: Any) -> Any:
    """The producer of `run` on this node, made by the first worker that asks."""
    node = ray.get_runtime_context().get_node_id()
    return BatchProducer.options(  # type: ignore[attr-defined]
        name=f"masklab-batches-{run}-{node}",
        get_if_exists=True,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote(recipe, corpus_ref)


log = logging.getLogger(__name__)

LONGEST_PAUSE = 63
"""Chunks for which a producer that has failed again and again is left alone, at most."""
STARTING_SECONDS = 60.0
"""How long a producer that has not answered yet may take to come up."""


@dataclass
class PullWindow:
    """A BatchSource that prefetches from a producer; `local` makes the batches that do not come in time.

    `start` starts the producer, or finds it. It is called after the first step, which need not share the processor with it. One that does
    not answer for two timeouts is killed, and Ray starts it anew; the more often a producer is in trouble in a row, the longer it is left
    alone.
    """

    start: Callable[[], Any]
    local: LocalSource
    settings: BatchSettings
    made_here: int = 0
    """Batches that this worker made itself."""
    killed: int = 0
    """Producers that were killed because they did not answer."""
    _producer: Any = None
    _asked: dict[tuple[int, int], Any] = field(default_factory=dict)
    _chunk: dict[str, Any] | None = None
    _in_time: bool = False
    """Whether the last chunk came in time; while not, nothing is waited for: the actor is starting, or in trouble."""
    _heard_at: float | None = None
    """When the producer last answered, or was asked after nothing that is still wanted was waited for."""
    _patience: float = STARTING_SECONDS
    """How long it may be silent."""
    _lost: int = 0
    """Chunks lost in a row."""
    _pause: int = 0
    """Chunks that are still not asked for."""
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
        except (RayError, ValueError) as error:  # Ray has the latter for a producer whose name was taken meanwhile
            self._in_trouble(f"a chunk of batches was lost ({type(error).__name__})")
            return None
        if self._in_time:
            log.warning("a chunk of batches was not there after %g s; this worker makes them itself", limit)
        self._in_time = False
        if self._heard_at is not None and time.monotonic() - self._heard_at > self._patience:
            self._kill()
        return None

    def _ask_ahead(self, stage: int, number: int) -> tuple[int, int]:
        """Ask for chunk `number` and those that follow it. Returns the first one's place."""
        if self._producer is None:
            self._producer = self.start()
        if any(asked_stage != stage for asked_stage, _ in self._asked):
            self._in_time = False  # what was asked for before the stage ended stands first in the producer's queue
        wanted = [(stage, n) for n in range(number, number + 1 + self.settings.prefetch_chunks)]
        if not any(place in self._asked for place in wanted):  # its silence until now was that of nobody asking
            self._heard_at = time.monotonic()
        self._asked = {place: self._asked.get(place) or self._ask(*place) for place in wanted}
        return wanted[0]

    def _kill(self) -> None:
        """End a producer that hangs; Ray starts another in its place."""
        self.killed += 1
        with suppress(RayError, ValueError):
            ray.kill(self._producer, no_restart=False)
        self._in_trouble(f"the producer of batches did not answer for {self._patience:g} s and was started anew")

    def _in_trouble(self, what: str) -> None:
        """Forget what was asked for, and leave the producer alone for a while."""
        self._lost += 1
        self._pause = min(2 ** min(self._lost - 1, 10) - 1, LONGEST_PAUSE)
        self._producer, self._in_time, self._patience = None, False, STARTING_SECONDS
        self._asked.clear()
        left = f"; it is left alone for {self._pause} chunks" if self._pause else ""
        log.warning("%s; this worker makes its batches itself%s", what, left)

    def _ask(self, stage: int, number: int) -> Any:
        steps = self.settings.chunk_steps
        return self._producer.chunk.remote(stage, number * steps, steps, self.local.first, self.local.last)
