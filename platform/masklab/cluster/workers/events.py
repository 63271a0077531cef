"""Carries the loop's events from rank 0 to the driver, which shows them, and the driver's wish to stop to all workers."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from masklab.training.events import Event
from masklab.training.stop import StopRequest

PATIENCE = 5.0
"""Seconds for which the driver waits for the next event before it asks again."""
LIMIT = 60.0
"""Seconds within which a relay that lives has answered, however busy the machine."""


@dataclass(frozen=True)
class StopSignal:
    """What workers are told: why to stop, and whether to save before, or to leave all as it is at once."""

    reason: str
    at_once: bool = False


@ray.remote(num_cpus=0)
class EventChannel:
    """A mailbox. Rank 0 posts; the driver collects, waiting for the next event when there is none. Workers ask whether to stop."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = asyncio.Event()
        self.stop: StopSignal | None = None
        self.stops = asyncio.Condition()

    async def post(self, event: Event) -> None:
        """Add an event."""
        self.events.append(event)
        self.news.set()

    async def collect(self, patience: float) -> list[Event]:
        """All events since the last call; waits up to `patience` seconds for the first."""
        try:
            await asyncio.wait_for(self.news.wait(), patience)
        except TimeoutError:
            return []
        self.news.clear()
        events, self.events = self.events, []
        return events

    async def wake(self) -> None:
        """Let whoever collects go on, with an event or without."""
        self.news.set()

    async def ask_to_stop(self, word: StopSignal) -> None:
        """Tell the workers."""
        async with self.stops:
            self.stop = word
            self.stops.notify_all()

    async def asked_to_stop(self, known: StopSignal | None, patience: float) -> StopSignal | None:
        """What the workers are told; waits up to `patience` seconds for something other than `known`."""
        try:
            async with asyncio.timeout(patience), self.stops:
                await self.stops.wait_for(lambda: self.stop != known)
        except TimeoutError:
            pass
        return self.stop


def open_channel() -> Any:
    """A relay on this node, so that it is lost with the driver alone."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return EventChannel.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


class EventConsumer:
    """Hands the relay's events to `handle` in a thread of the driver, in order, until it is closed."""

    def __init__(self, relay: Any, handle: Callable[[Event], None]) -> None:
        self.relay, self.handle = relay, handle
        self.closing = threading.Event()
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._listen, name="masklab-events", daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            last_round = self.closing.is_set()
            try:
                for event in ray.get(self.relay.collect.remote(0.05 if last_round else PATIENCE), timeout=LIMIT):
                    self.handle(event)
            except Exception as error:
                self.failure = error
                return
            if last_round:
                return

    def close(self) -> None:
        """Hand over what is left, and stop. Raises what `handle` raised, and TimeoutError when it does not come to an end."""
        self.abandon(5 * LIMIT)
        if self.failure:
            raise self.failure
        if self.thread.is_alive():
            raise TimeoutError(f"the run's last events were not taken in within {5 * LIMIT:.0f} s")

    def abandon(self, patience: float = 10.0) -> None:
        """Hand over what is left, and stop; what goes wrong here is of no weight beside what ended the run."""
        self.closing.set()
        with suppress(RayError):
            self.relay.wake.remote()
        self.thread.join(timeout=patience)


log = logging.getLogger(__name__)

PREEMPTION = "a node is about to be taken away"
"""The reason that is told where Ray has given notice."""
LOOK_SECONDS = 1.0
"""How often a worker looks whether Ray has given notice. The driver's word comes at once."""


def listen_for_stops(relay: Any, request: StopRequest) -> None:
    """Pass on to `request`, from a thread of this worker, what the driver and Ray say, as long as the process lives."""
    threading.Thread(target=_listen, args=(relay, request), name="masklab-stops", daemon=True).start()


def _listen(relay: Any, request: StopRequest) -> None:
    known: StopSignal | None = None
    while True:
        try:
            word = ray.get(relay.asked_to_stop.remote(known, LOOK_SECONDS), timeout=LIMIT)
        except RayError as error:  # nobody is left who would tell, or see what this run does
            request.ask(f"the driver cannot be reached ({type(error).__name__})")
            return
        if word is not None and word != known:
            known = word
            if word.at_once:
                os._exit(1)
            request.ask(word.reason)
        if is_preempted():
            request.ask(PREEMPTION)


def is_preempted() -> bool:
    """Whether Ray has marked this worker's group: some node of it is to be drained.

    The public `ray.train.get_preemption_info` lets all ranks meet, which a thread beside the loop must not do.
    """
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return get_train_context().preemption_context.preemption_info is not None
    except (ImportError, AttributeError, RuntimeError):  # another version of Ray, or no worker of Train
        return False
