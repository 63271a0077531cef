"""Tune's side of a sweep: it asks for trials, and is told what they report, through these; whatever is kept is kept by the conductor."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.search import Searcher

from masklab.cluster.tune.trial import Handed

TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""What Tune reads from the environment: trials keep their own figures, and the driver its own signals; the user's settings stay."""


class Books(Protocol):
    """Who is asked for trials, and told of them by their numbers."""

    def begin(self) -> Handed | None:
        """The next trial; None when there is no other."""

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """A trial has been evaluated."""

    def ended(self, number: int, *, failed: bool) -> None:
        """A trial's process has ended, by itself or not."""


class TrialSource(Searcher):  # type: ignore[misc]
    """Gives Tune one trial after another. It has no state of its own to save: a sweep goes on by its own records."""

    def __init__(self, books: Books, must_wait: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._books, self._must_wait = books, must_wait

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, or word that there is none; None while it must wait."""
        if self._must_wait():
            return None
        handed = self._books.begin()
        return {"handed": handed} if handed else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The books are told by `Watch`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing is saved."""


class Watch(TrialProgressCallback):  # type: ignore[misc]
    """Tells the books what Tune sees, in place of the callback that Tune has for printing: at any verbosity that one has a word for a
    trial which ends without a report.
    """

    def __init__(self, books: Books) -> None:
        super().__init__()
        self._books = books

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        """A report."""
        self._books.reported(trial.config["handed"].number, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The end, whether of its own accord or not."""
        self._books.ended(trial.config["handed"].number, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A failure."""
        self._books.ended(trial.config["handed"].number, failed=True)


class AskedToStop(tune.Stopper):  # type: ignore[misc]
    """Ends the sweep, and what is under way, once it is `asked`."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is stopped for what it reports."""
        return False

    def stop_all(self) -> bool:
        """Whether it has been asked."""
        return self.asked

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM, which a stopped job gets, ask; a second one ends what is done within at once. For the main thread only."""

        def ask(_signal: int, _frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
