"""Carries the loop's events from rank 0 to the driver, which shows them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import ray

from masklab.training.events import Event


@ray.remote(num_cpus=0)
class EventRelay:
    """A mailbox. Rank 0 posts; the driver collects, waiting for the next event when there is none."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = asyncio.Event()

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


class Listener:
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
                for event in ray.get(self.relay.collect.remote(0.05 if last_round else 5.0)):
                    self.handle(event)
            except Exception as error:
                self.failure = error
                return
            if last_round:
                return

    def close(self) -> None:
        """Hand over what is left, and stop. Raises what `handle` raised."""
        self.closing.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def abandon(self) -> None:
        """Hand over what is left, and stop; what goes wrong here is of no weight beside what ended the run."""
        self.closing.set()
        self.thread.join(timeout=10)
