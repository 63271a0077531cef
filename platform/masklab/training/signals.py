"""What ends a driver from outside."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from masklab.training.stop import StopRequest

INTERRUPTED = 130
"""The exit status of what was ended from outside."""


@contextmanager
def terminating_as_interrupt() -> Iterator[None]:
    """SIGTERM, which a stopped job gets, ends what is done within as Ctrl-C does. Only the main thread can be told; others are not."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopping_by_signals(request: StopRequest, numbers: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)) -> Iterator[None]:
    """The first of Ctrl-C and SIGTERM, or of other signals, makes the `request`; a second one ends what is done within at once.

    Only the main thread can be told; others are not.
    """

    def ask(number: int, _frame: FrameType | None) -> None:
        if request.reason is not None:
            raise KeyboardInterrupt
        request.ask(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(status: int) -> NoReturn:
    """End this process with `status`. One that was told to end does so at once: to take down what libraries hold takes seconds."""
    if status != INTERRUPTED:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
