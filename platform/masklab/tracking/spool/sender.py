"""The thread that sends spools to MLflow. Only `close` waits for it, for a bounded time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from masklab.io.redaction import first_line_redacted, redact
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.spool import Spool, SpoolWriter

GATHERING = 1.0
"""Seconds between two rounds, so that one request carries many metric values."""
LOOKING = 5.0
"""Seconds between two rounds while another process holds a file."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds after a failed round; the pause doubles from the first to the longest."""
PATIENCE = 20.0
"""Seconds for which `close` retries a store that accepts nothing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A spool to send, its MLflow run if that is known, and the writer of this process in it."""

    spool: Spool
    run_id: str = ""
    writer: SpoolWriter | None = None


class SpoolSender:
    """Sends its targets round by round until it is closed. `report` receives the first failure; training continues."""

    def __init__(self, store: Store, report: Callable[[str], None] = _log.warning) -> None:
        self._store, self._report = store, report
        self._targets: list[Target] = []
        self._news = threading.Condition()
        self._has_news = self._is_closing = self._is_over = self._has_reported = False
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    def add(self, target: Target) -> None:
        """Send the records of a target, and those that are added later."""
        with self._news:
            if target not in self._targets:
                self._targets.append(target)
        self.wake()

    def wake(self) -> None:
        """Signal that there are new records; returns immediately."""
        with self._news:
            if not self._has_news:
                self._has_news = True
                self._news.notify_all()
            if not self._thread.ident:
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Send the rest for at most `seconds`, and stop. A store that accepts nothing is given up earlier, after PATIENCE."""
        with self._news:
            self._is_closing = True
            self._news.notify_all()
        if self._thread.ident:
            self._thread.join(seconds)
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def _run(self) -> None:
        delivery = Delivery(self._store, lambda: self._is_over)
        pause, is_all = FIRST_PAUSE, True
        while True:
            with self._news:
                self._news.wait_for(lambda: self._has_news or self._is_closing, timeout=None if is_all else LOOKING)
                if self._is_over:
                    return
                is_last, self._has_news = self._is_closing, False
                targets = list(self._targets)
            began, before = time.monotonic(), delivery.requests
            try:
                is_all = self._round(delivery, targets)
            except Exception as error:  # no error of a store may end a run; what is left stays in the spool
                if delivery.requests > before:
                    self._failing_since = None
                self._failing_since = self._failing_since or began
                if not self._retries(error, pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._failing_since, pause = None, FIRST_PAUSE
            if is_last:
                return
            with self._news:
                self._news.wait_for(lambda: self._is_closing, timeout=GATHERING)

    def _round(self, delivery: Delivery, targets: Sequence[Target]) -> bool:
        """Send what can be sent of each target. Returns whether that was everything. A DeferredError is raised last, others immediately."""
        refused, is_all = None, True
        for target in targets:
            try:
                is_delivered = delivery.deliver(target.spool, target.run_id, target.writer.file if target.writer else None)
            except DeferredError as error:
                refused, is_delivered = refused or error, False
            if is_delivered and target.writer is None:  # complete, unless it is added again
                with self._news:
                    self._targets = [other for other in self._targets if other != target or self._has_news]
            is_all = is_all and is_delivered
        if refused:
            raise refused
        return is_all

    def _retries(self, error: Exception, pause: float) -> bool:
        """Report the first failure and wait. False once it is closing and the store has accepted nothing for PATIENCE seconds."""
        if not self._has_reported:
            self._has_reported = True
            self._report(
                f"MLflow at {redact(self._store.uri)} does not accept this run's metrics ({first_line_redacted(error)}); "
                "training continues and they will be sent again"
            )
        with self._news:
            self._has_news = True
            was_closing = self._is_closing
            if was_closing and self._failing_since and time.monotonic() - self._failing_since >= PATIENCE:
                return False
            self._news.wait_for(lambda: self._is_over or self._is_closing != was_closing, timeout=pause)
        return not self._is_over
