"""The worker's side of MLflow: figures and files go to an existing run from a background thread.

Training never waits for the server. What is queued is sent in batches; a batch that fails is kept and sent again after a
pause. Sending a point twice is harmless, since MLflow's key of a point holds the time at which it was queued.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from masklab.redaction import redact
from masklab.tracking.mlflow_run import DESCRIPTION_TAG, PARAMS_PER_BATCH, TAG_LENGTH, client_of, reason_of
from masklab.tracking.params import flat_params
from masklab.tracking.tracker import Status

if TYPE_CHECKING:
    from mlflow.entities import Param
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1000
WAITING_POINTS = 200_000
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

_log = logging.getLogger(__name__)
_Point = tuple[str, float, int, int]
"""Name, figure, time in ms, step."""
_Upload = Callable[["MlflowClient"], object]


class MlflowTracker:
    """A Tracker of one MLflow run. `failures` counts the requests that failed, `lost` the points and files given up.

    `finish_seconds` bounds how long `finish` waits for what is still queued. `report` takes a failure in words, once.
    """

    def __init__(self, uri: str, run_id: str, finish_seconds: float = 20.0, report: Callable[[str], None] = _log.warning) -> None:
        self.uri, self.run_id = uri, run_id
        self.failures = self.lost = 0
        self._finish_seconds, self._report = finish_seconds, report
        self._points: deque[_Point] = deque()
        self._uploads: deque[_Upload] = deque()
        self._changed = threading.Condition()
        self._closing, self._gave_up = False, False
        self._thread = threading.Thread(target=self._send_all, name="mlflow-sender", daemon=True)
        self._thread.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Queue figures at iteration `step`; returns at once."""
        now = time.time_ns() // 1_000_000
        with self._changed:
            self._points.extend((name, float(value), now, step) for name, value in metrics.items())
            while len(self._points) > WAITING_POINTS:
                self._points.popleft()
                self.lost += 1
            self._changed.notify()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Queue parameters, flattened; returns at once."""
        from mlflow.entities import Param

        entries = [Param(name, value) for name, value in flat_params(params).items()]
        for i in range(0, len(entries), PARAMS_PER_BATCH):
            self._queue(partial(_log_params, run_id=self.run_id, params=entries[i : i + PARAMS_PER_BATCH]))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Queue a file or folder; it must stay in place until `finish`."""
        if path.is_dir():
            self._queue(lambda client: client.log_artifacts(self.run_id, str(path), folder or None))
        else:
            self._queue(lambda client: client.log_artifact(self.run_id, str(path), folder or None))

    def log_text(self, text: str, name: str) -> None:
        """Queue `text` as the artifact `name`."""
        self._queue(lambda client: client.log_text(self.run_id, text, name))

    def describe(self, markdown: str) -> None:
        """Queue a new description."""
        self._queue(lambda client: client.set_tag(self.run_id, DESCRIPTION_TAG, redact(markdown)[:TAG_LENGTH]))

    def finish(self, status: Status | None = None) -> None:
        """Send what is queued, within the time limit, and set the run's status if one is given. Tells what was lost."""
        if status is not None:
            self._queue(lambda client: client.set_terminated(self.run_id, status=status))
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(self._finish_seconds)
        with self._changed:
            self._gave_up = True
            self._changed.notify()
            self.lost += len(self._points) + len(self._uploads)
            self._points.clear()
            self._uploads.clear()
        if self.lost:
            self._report(
                f"MLflow did not get {self.lost} figures or files of this run ({redact(self.uri)}, {self.failures} failed requests); "
                "the run folder and its summary.json are complete"
            )

    def _queue(self, upload: _Upload) -> None:
        with self._changed:
            self._uploads.append(upload)
            self._changed.notify()

    def _send_all(self) -> None:
        """The thread: send, pause after a failure, stop when closing with empty queues or when given up."""
        client, pause = None, FIRST_PAUSE
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._points or self._uploads or self._closing)
                if self._gave_up or not (self._points or self._uploads):
                    return
            try:
                client = client or client_of(self.uri)
                self._send_next(client)
                pause = FIRST_PAUSE
            except Exception as error:  # whatever a server does must not end a run; it is counted and told
                self._failed(error, pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _send_next(self, client: MlflowClient) -> None:
        """One request: a batch of figures, else one upload. What is sent leaves its queue once it has arrived."""
        from mlflow.entities import Metric

        with self._changed:
            batch = list(islice(self._points, METRICS_PER_BATCH))
            upload = self._uploads[0] if self._uploads and not batch else None
        if upload is not None:
            try:
                upload(client)
            except Exception:
                with self._changed:
                    self._uploads.rotate(-1)  # behind the others, which may fare better
                raise
            with self._changed:
                if self._uploads and self._uploads[0] is upload:
                    self._uploads.popleft()
            return
        client.log_batch(self.run_id, metrics=[Metric(*point) for point in batch])
        with self._changed:
            for point in batch:  # the oldest may have been dropped meanwhile
                if self._points and self._points[0] is point:
                    self._points.popleft()

    def _failed(self, error: Exception, pause: float) -> None:
        self.failures += 1
        if self.failures == 1:
            self._report(
                f"MLflow at {redact(self.uri)} does not take this run's figures ({reason_of(error)}); "
                "training goes on and they will be sent again"
            )
        with self._changed:
            was_closing = self._closing
            self._changed.wait_for(lambda: self._gave_up or self._closing != was_closing, timeout=pause)


def _log_params(client: MlflowClient, run_id: str, params: list[Param]) -> None:
    client.log_batch(run_id, params=params)
