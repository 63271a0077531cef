"""A thread that sends what waits in the spools of run folders. Nobody waits for it but who closes it, and not for long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from masklab.io.redaction import first_line_redacted, redact
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.spool import Spool, SpoolFile, SpoolWriter

GATHERING = 1.0
"""Seconds between two rounds while all goes well: many figures make one request."""
LOOKING = 5.0
"""Seconds between two looks at what another process has to do first."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
PATIENCE = 20.0
"""Seconds for which a store that takes nothing is tried on closing."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A spool to be sent, the run's number where it is known, and this process's own file in it."""

    spool: Spool
    run_id: str = ""
    writer: SpoolWriter | None = None

    @property
    def own(self) -> SpoolFile | None:
        """The file that this process adds to."""
        return self.writer.file if self.writer else None


class SpoolSender:
    """Goes round its targets until it is closed. `failures` counts the rounds that failed; `report` is told of the first, in words."""

    def __init__(self, store: Store, report: Callable[[str], None] = _log.warning) -> None:
        self.failures = 0
        self._store, self._report = store, report
        self._targets: list[Target] = []
        self._news = threading.Condition()
        self._has_news = self._is_closing = self._is_over = False
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)

    def take(self, target: Target) -> None:
        """Send what is and will be in a target."""
        with self._news:
            if target not in self._targets:
                self._targets.append(target)
        self.wake()

    def wake(self) -> None:
        """Tell that there is something to send; returns at once."""
        with self._news:
            if not self._has_news:
                self._has_news = True
                self._news.notify_all()
            if not self._thread.ident:
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Send what is left, for `seconds` at most, and for less with a store that takes nothing."""
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
            except Exception as error:  # whatever a store does must not end a run; it is told, and what is left stays in the spool
                if delivery.requests > before:
                    self._failing_since = None
                self._failing_since = self._failing_since or began
                if not self._goes_on(error, pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._failing_since, pause = None, FIRST_PAUSE
            if is_last:
                return
            with self._news:
                self._news.wait_for(lambda: self._is_closing, timeout=GATHERING)

    def _round(self, delivery: Delivery, targets: Sequence[Target]) -> bool:
        """Send what can be sent of each target. Whether that was all. Raises what was raised, at once unless it only put a record off."""
        refused, is_all = None, True
        for target in targets:
            try:
                has_arrived = delivery.deliver(target.spool, target.run_id, target.own)
            except DeferredError as error:
                refused, has_arrived = refused or error, False
            if has_arrived and target.writer is None:  # nothing is added to it unless it is taken again
                with self._news:
                    self._targets = [other for other in self._targets if other != target or self._has_news]
            is_all = is_all and has_arrived
        if refused:
            raise refused
        return is_all

    def _goes_on(self, error: Exception, pause: float) -> bool:
        """Tell of a failure and wait. False when it is closing and the store has taken nothing for long enough."""
        self.failures += 1
        if self.failures == 1:
            self._report(
                f"MLflow at {redact(self._store.uri)} does not take this run's figures ({first_line_redacted(error)}); "
                "training goes on and they will be sent again"
            )
        with self._news:
            self._has_news = True
            was_closing = self._is_closing
            if was_closing and self._failing_since and time.monotonic() - self._failing_since >= PATIENCE:
                return False
            self._news.wait_for(lambda: self._is_over or self._is_closing != was_closing, timeout=pause)
        return not self._is_over
