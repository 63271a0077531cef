"""Tune's side of a sweep: it asks for trials, and is told what they report, through these; whatever is kept is kept by the conductor."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from masklab.cluster.tune.trial import OBJECTIVE, SPENT, TrialPayload
from masklab.config.jobs.train import Config
from masklab.config.jobs.tune import SweepSettings
from masklab.curriculum.timetable import timetable
from masklab.reporting.numbers import si
from masklab.reporting.run.history import History
from masklab.training.settings import TrainingSettings

TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""What Tune reads from the environment: trials keep their own figures, and the driver its own signals; the user's settings stay."""


class TrialStore(Protocol):
    """Who is asked for trials, and told of them by their numbers."""

    def begin(self) -> TrialPayload | None:
        """The next trial; None when there is no other."""

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """A trial has been evaluated."""

    def ended(self, number: int, *, failed: bool) -> None:
        """A trial's process has ended, by itself or not."""


class TuneSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune one trial after another. It has no state of its own to save: a sweep goes on by its own records."""

    def __init__(self, books: TrialStore, must_wait: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._books, self._must_wait = books, must_wait

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, or word that there is none; None while it must wait."""
        if self._must_wait():
            return None
        handed = self._books.begin()
        return {"handed": handed} if handed else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The books are told by `TuneCallback`."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing is saved."""


class TuneCallback(TrialProgressCallback):  # type: ignore[misc]
    """Tells the books what Tune sees, in place of the callback that Tune has for printing: at any verbosity that one has a word for a
    trial which ends without a report.
    """

    def __init__(self, books: TrialStore) -> None:
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


@dataclass(frozen=True)
class NamedTrial:
    """A trial by the name of its folder, as far as a scheduler asks."""

    trial_id: str


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Tune's successive halving, which knows a trial by the name that it keeps when the sweep goes on.

    Tune numbers trials anew then. One that goes on would be held against the others wherever they had been before, by what it shows
    now, and they against it.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial is about to be started."""
        super().on_trial_add(tune_controller, _named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial is to go on. A loss that is no number is the worst, but one that quantiles can be taken of."""
        nats = {OBJECTIVE: min(result[OBJECTIVE], sys.float_info.max)} if OBJECTIVE in result else {}
        return str(super().on_trial_result(tune_controller, _named(trial), result | nats))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has come to its end, of which its last report tells nothing new."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial is stopped from outside; what it has shown stays."""


def _named(trial: Any) -> NamedTrial:
    return trial if isinstance(trial, NamedTrial) else NamedTrial(f"{trial.config['handed'].number:03d}")


def grace_chars(settings: SweepSettings, training: TrainingSettings) -> int:
    """The characters that each trial sees before it may be stopped; the budget is in steps or characters."""
    iterations = training.iterations
    assert iterations, "the configuration has been checked"
    return max(1, round(settings.grace * iterations * training.chars_per_step))


def scheduler_of(settings: SweepSettings, training: TrainingSettings) -> Any:
    """Tune's scheduler of successive halving; None where every trial is trained to its end.

    At `grace` of the budget, and at each `reduction_factor` times as many characters, a trial goes on if it is among the best of
    that share so far. What a trial does with the whole of its budget is never cut.
    """
    iterations = training.iterations
    if settings.scheduler != "asha" or iterations is None:
        return None
    whole = iterations * training.chars_per_step
    return Halving(
        time_attr=SPENT,
        metric=OBJECTIVE,
        mode="min",
        max_t=whole + 1,
        grace_period=grace_chars(settings, training),
        reduction_factor=settings.reduction_factor,
    )


def recall(scheduler: Any, name: str, history: History) -> None:
    """Tell the scheduler what trial `name` showed in an earlier part of the sweep, so that later ones are held against it."""
    past = NamedTrial(name)
    scheduler.on_trial_add(None, past)
    for seen in history.evaluations:
        if seen.chars is not None and seen.nelbo_nats is not None:
            scheduler.on_trial_result(None, past, {SPENT: seen.chars, OBJECTIVE: seen.nelbo_nats})


def cut_too_soon(settings: SweepSettings, configs: Iterable[Config]) -> Iterator[str]:
    """One line for each curriculum that may be stopped before its second stage begins, and is then judged by its first alone."""
    latest: dict[str, int] = {}
    for config in configs if settings.scheduler == "asha" else ():
        if begins := _second_stage(config):
            latest[config.curriculum.name] = max(latest.get(config.curriculum.name, 0), begins)
            training = config.training
    for name, begins in latest.items():
        grace, second, whole = grace_chars(settings, training), begins * training.chars_per_step, training.iterations
        if grace < second and whole:
            yield (
                f"{settings.scheduler} may stop a trial after {si(grace)} characters, before the second stage of {name} begins, "
                f"at {si(second)} or sooner; raise sweep.grace to {-(-100 * begins // whole) / 100:g}"
            )


def _second_stage(config: Config) -> int | None:
    """The iteration at which the second stage begins at the latest; None where none does, or where it makes no difference."""
    iterations = config.training.iterations
    if iterations is None or config.curriculum.mixing == "all":
        return None
    return [*timetable(config.curriculum, iterations, config.training.eval_interval), None][1]
