"""Stopping a run from outside: requests, signals, and the exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
"""Exit status of a process that was stopped from outside."""


class StopRequest:
    """A flag with a reason, which any thread or signal handler may set and read. The first reason is kept."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._reason: str | None = None

    def ask(self, reason: str) -> None:
        # no lock: a signal handler may interrupt the thread that holds it
        if self._reason is None:
            self._reason = reason
        self._asked.set()

    @property
    def reason(self) -> str | None:
        return self._reason

    def wait(self, seconds: float) -> bool:
        """Wait for a request, at most `seconds`. Returns whether there is one."""
        return self._asked.wait(seconds)


class EvaluationStopped(Exception):
    """An evaluation was abandoned on all workers at once, because the run is to stop."""


@contextmanager
def terminating_as_interrupt() -> Iterator[None]:
    """Within, SIGTERM raises KeyboardInterrupt as Ctrl-C does. Has no effect outside the main thread, which alone gets signals."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handling([signal.SIGTERM], interrupt):
        yield


@contextmanager
def stopping_by_signals(request: StopRequest, numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
    """Within, the first of the signals `numbers` makes the `request`; a second one raises KeyboardInterrupt.

    Has no effect outside the main thread, which alone gets signals.
    """

    def ask(number: int, _frame: FrameType | None) -> None:
        if request.reason is not None:
            raise KeyboardInterrupt
        request.ask(signal.Signals(number).name)

    with _handling(numbers, ask):
        yield


@contextmanager
def _handling(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def leave(status: int) -> NoReturn:
    """End this process with `status`. A stopped one ends at once, without the seconds that libraries need to shut down."""
    if status != INTERRUPTED:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
