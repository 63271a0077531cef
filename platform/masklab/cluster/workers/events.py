"""The channel between workers and driver: the loop's events go from rank 0 to the driver, and stop signals to all workers."""

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

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds for which the driver waits for the next event before it asks again."""
LIMIT = 60.0
"""Seconds within which a living channel has answered, however busy the machine."""
PREEMPTION = "a node is about to be taken away"
"""The reason for stopping after a preemption notice from Ray."""
POLL_SECONDS = 1.0
"""How often a worker checks for a preemption notice. The driver's signal arrives at once."""


@dataclass(frozen=True)
class StopSignal:
    """Why workers must stop. They save first, unless `at_once`."""

    reason: str
    at_once: bool = False


@ray.remote(num_cpus=0)
class EventChannel:
    """A queue of events that rank 0 posts and the driver collects, and the stop signal for which workers wait."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = asyncio.Event()
        self.stop: StopSignal | None = None
        self.stops = asyncio.Condition()

    async def post(self, event: Event) -> None:
        self.events.append(event)
        self.news.set()

    async def collect(self, patience: float) -> list[Event]:
        """All events since the last call; waits at most `patience` seconds for the first."""
        try:
            await asyncio.wait_for(self.news.wait(), patience)
        except TimeoutError:
            return []
        self.news.clear()
        events, self.events = self.events, []
        return events

    async def wake(self) -> None:
        """End the wait in `collect`, even without an event."""
        self.news.set()

    async def ask_to_stop(self, signal: StopSignal) -> None:
        async with self.stops:
            self.stop = signal
            self.stops.notify_all()

    async def asked_to_stop(self, known: StopSignal | None, patience: float) -> StopSignal | None:
        """The current stop signal; waits at most `patience` seconds for one that differs from `known`."""
        try:
            async with asyncio.timeout(patience), self.stops:
                await self.stops.wait_for(lambda: self.stop != known)
        except TimeoutError:
            pass
        return self.stop


def open_channel() -> Any:
    """Create a channel on this node, so that it is lost only together with the driver."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return EventChannel.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]


class EventConsumer:
    """Calls `handle` with the channel's events, in order, in a thread of the driver, until it is closed."""

    def __init__(self, channel: Any, handle: Callable[[Event], None]) -> None:
        self.channel, self.handle = channel, handle
        self.closing = threading.Event()
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._listen, name="masklab-events", daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            last_round = self.closing.is_set()
            try:
                for event in ray.get(self.channel.collect.remote(0.05 if last_round else PATIENCE), timeout=LIMIT):
                    self.handle(event)
            except Exception as error:
                self.failure = error
                return
            if last_round:
                return

    def close(self) -> None:
        """Handle the remaining events, and stop. Raises what `handle` raised, and TimeoutError when that takes too long."""
        self.abandon(5 * LIMIT)
        if self.failure:
            raise self.failure
        if self.thread.is_alive():
            raise TimeoutError(f"the run's last events were not handled within {5 * LIMIT:.0f} s")

    def abandon(self, patience: float = 10.0) -> None:
        """Handle the remaining events, and stop; errors are ignored, since the run has ended with another one."""
        self.closing.set()
        with suppress(RayError):
            self.channel.wake.remote()
        self.thread.join(timeout=patience)


def listen_for_stops(channel: Any, request: StopRequest) -> None:
    """Start a daemon thread that sets `request` after a stop signal from the driver or a preemption notice from Ray."""
    threading.Thread(target=_listen, args=(channel, request), name="masklab-stops", daemon=True).start()


def _listen(channel: Any, request: StopRequest) -> None:
    known: StopSignal | None = None
    while True:
        try:
            signal = ray.get(channel.asked_to_stop.remote(known, POLL_SECONDS), timeout=LIMIT)
        except RayError as error:  # without the driver nobody could stop or observe this run
            request.ask(f"the driver cannot be reached ({type(error).__name__})")
            return
        if signal is not None and signal != known:
            known = signal
            if signal.at_once:
                os._exit(1)
            request.ask(signal.reason)
        if is_preempted():
            request.ask(PREEMPTION)


def is_preempted() -> bool:
    """Whether Ray will drain a node of this worker's group.

    The public `ray.train.get_preemption_info` synchronises all ranks, which a thread beside the loop must not do.
    """
    try:
        from ray.train.v2._internal.execution.context import get_train_context

        return get_train_context().preemption_context.preemption_info is not None
    except (ImportError, AttributeError, RuntimeError):  # another version of Ray, or not a worker of Train
        return False
