"""What a driver says of a run that is stopped, here and in MLflow, as early as can be: a stopped job is killed seconds later."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from masklab.io.redaction import redact
from masklab.tracking.tracker import Tracker
from masklab.training.events import RunStopped
from masklab.training.stop import StopRequest


@dataclass
class StopMessage:
    """Says, once, where a run stopped and how it goes on: at once, since a job that is stopped is killed seconds later."""

    name: str
    command: Sequence[str]
    is_said: bool = False

    def say(self, stopped: RunStopped) -> None:
        """Print a line."""
        if self.is_said:
            return
        self.is_said = True
        where = f"iteration {stopped.iteration:,} is saved" if stopped.iteration else "nothing had been saved yet"
        print(f"stopped ({stopped.reason}); {where}; to go on: {self.again}", flush=True)

    @property
    def again(self) -> str:
        """The command that goes on with the run, but for the secrets in it."""
        named = any(word.startswith("run.name=") for word in self.command)
        return redact(shlex.join(["python", "jobs/train.py", *self.command, *([] if named else [f"run.name={self.name}"])]))


@contextmanager
def announce_stop(request: StopRequest, tracker: Tracker, again: str) -> Iterator[None]:
    """Say that the run is about to stop as soon as it is asked to, and by which command it goes on `again`, here and in MLflow: a
    stopped job is killed seconds later, which may be before it has saved.

    Nothing is said any more once what is done within has ended.
    """
    over, speaking = threading.Event(), threading.Lock()

    def announce() -> None:
        while not request.wait(1.0):
            if over.is_set():
                return
        with speaking:
            if not over.is_set():
                tracker.set_status("KILLED")
                print(
                    f"{request.reason}: the run saves at the end of this step and stops (a second one stops it at once); to go on: {again}",
                    flush=True,
                )

    threading.Thread(target=announce, name="masklab-farewell", daemon=True).start()
    try:
        yield
    finally:
        with speaking:
            over.set()
