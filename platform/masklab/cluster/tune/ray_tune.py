"""Ray Tune's side of a sweep: the process of a trial, and the searcher, callback, stopper and halving scheduler that Tune calls.

Tune numbers and stores trials in its own way; here a trial is known by its number in the sweep, and its files are in its own folder.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from masklab.cluster.trial import Trial, failure_reason, run_nested, run_trial
from masklab.config.jobs.train import Config
from masklab.config.jobs.tune import SweepSettings
from masklab.curriculum.timetable import timetable
from masklab.reporting.numbers import si
from masklab.reporting.run.history import History
from masklab.training.events import CheckpointSaved, EvaluationDone, Event, RunStarted
from masklab.training.settings import TrainingSettings
from masklab.training.stop import StopRequest

OBJECTIVE, SPENT, FAILURE = "nelbo_nats", "chars", "failure"
"""Keys of a report: the NELBO in nats per character, which is minimised; the characters seen so far; why a trial has failed."""
LEAVING_SECONDS = 60
"""How long a stopped trial has to send its last metrics before its process hosts the next one."""
READY = "ready"
"""Key of the report by which a population's trial says that its part has ended."""
PAYLOAD = "payload"
"""Key of the TrialPayload in the configuration that Tune gives to a trial."""


class PartEnded(Exception):
    """The last iteration of a trial's part is saved in a checkpoint."""


@dataclass(frozen=True, repr=False)
class TrialPayload:
    """The message from Tune to a trial's process. It is not copied, so that its references into the object store stay valid."""

    number: int
    trial: Trial
    until: int | None = None
    """The iteration at which this part of the trial ends; None to train it to its end."""

    def __deepcopy__(self, memo: dict[int, Any]) -> TrialPayload:
        return self

    def __repr__(self) -> str:
        return f"trial {self.number}"


def host_trial(config: dict[str, Any]) -> None:
    """Tune's trainable. Raises what the loop raises, after it has reported the reason."""
    payload: TrialPayload = config[PAYLOAD]
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", str(LEAVING_SECONDS))
    try:
        (run_trial if payload.trial.workers == 1 else run_nested)(payload.trial, lambda event: listen(event, payload.until))
    except PartEnded:
        tune.report({READY: True})  # Tune pauses the trial here, once its metrics have been sent
    except Exception as error:
        tune.report({OBJECTIVE: math.inf, SPENT: 0, FAILURE: failure_reason(error)})
        raise


def listen(event: Event, until: int | None) -> None:
    """Report an evaluation to Tune, except the last one: a trial that has spent its budget must not be stopped.

    A NELBO that is not finite counts as infinite. Raises PartEnded at the iteration `until`.
    """
    if isinstance(event, EvaluationDone) and event.budget_used < 1:
        assert event.evaluation.nelbo, "a sweep is of a mode that gives a likelihood"
        nats = event.evaluation.nelbo.nats
        tune.report({OBJECTIVE: nats if math.isfinite(nats) else math.inf, SPENT: event.chars, "iteration": event.iteration})
    if until is not None and isinstance(event, RunStarted | CheckpointSaved) and event.iteration >= until:
        raise PartEnded


TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Environment variables of Tune: trials store their own metrics, and the driver handles signals. Values set by the user win."""


class TrialStore(Protocol):
    """Provides trials, and records by their numbers what Tune observes of them."""

    def begin(self) -> TrialPayload | None:
        """The next trial; None when there is no other."""

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """Record a trial's report."""

    def ended(self, number: int, *, failed: bool) -> None:
        """Record that a trial's process has ended."""


def number_of(trial: Any) -> int:
    """The number in the sweep of a trial of Tune's."""
    payload: TrialPayload = trial.config[PAYLOAD]
    return payload.number


class TuneSearcher(Searcher):  # type: ignore[misc]
    """Gives Tune one trial of `store` after another. It has no state to save: a sweep resumes from its own record."""

    def __init__(self, store: TrialStore, must_wait: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._store, self._must_wait = store, must_wait

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial; Searcher.FINISHED when there is no other; None while Tune must wait."""
        if self._must_wait():
            return None
        payload = self._store.begin()
        return {PAYLOAD: payload} if payload else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: TuneCallback records it."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None: ...


class TuneCallback(TrialProgressCallback):  # type: ignore[misc]
    """Passes Tune's observations to `store`.

    It takes the place of Tune's printing callback, which at any verbosity prints a line for a trial that ends without a report.
    """

    def __init__(self, store: TrialStore) -> None:
        super().__init__()
        self._store = store

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._store.reported(number_of(trial), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._store.ended(number_of(trial), failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._store.ended(number_of(trial), failed=True)


class RequestStopper(tune.Stopper):  # type: ignore[misc]
    """Ends all trials once `request` is made."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles the stopper into snapshots, which are never restored."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.request.reason is not None


@dataclass(frozen=True)
class NamedTrial:
    """The part of a trial that a scheduler uses; `trial_id` is the name of its folder."""

    trial_id: str


class Halving(ASHAScheduler):  # type: ignore[misc]
    """Tune's successive halving, which knows a trial by its folder's name.

    Tune gives trials new identifiers when a sweep is resumed: a resumed trial would be ranked twice at the rungs that it has passed.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether the trial continues. A NELBO that is not finite counts as the largest float, so that quantiles exist."""
        nats = {OBJECTIVE: min(result[OBJECTIVE], sys.float_info.max)} if OBJECTIVE in result else {}
        return str(super().on_trial_result(tune_controller, _named(trial), result | nats))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Do nothing: a trial's end adds nothing to its last report."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Do nothing: the reports of a stopped trial stay."""


def _named(trial: Any) -> NamedTrial:
    return trial if isinstance(trial, NamedTrial) else NamedTrial(f"{number_of(trial):03d}")


def grace_chars(settings: SweepSettings, training: TrainingSettings) -> int:
    """The characters that each trial sees before it may be stopped. The budget must be in steps or characters."""
    iterations = training.iterations
    assert iterations, "the configuration has been checked"
    return max(1, round(settings.grace * iterations * training.chars_per_step))


def scheduler_of(settings: SweepSettings, training: TrainingSettings) -> Any:
    """Tune's scheduler for asynchronous successive halving; None where every trial is trained to its end.

    The first rung is at the fraction `grace` of the budget, and each next one `reduction_factor` times as far. At a rung a trial
    continues if it is in the best 1/`reduction_factor` so far. A trial that has spent its budget is never stopped.
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
    """Replay the evaluations of trial `name` from an earlier part of the sweep, so that later trials are compared with it."""
    past = NamedTrial(name)
    scheduler.on_trial_add(None, past)
    for seen in history.evaluations:
        if seen.nelbo_nats is not None:
            scheduler.on_trial_result(None, past, {SPENT: seen.chars, OBJECTIVE: seen.nelbo_nats})


def cut_too_soon(settings: SweepSettings, configs: Iterable[Config]) -> Iterator[str]:
    """One line for each curriculum whose trials may be stopped before their second stage begins, and so be judged by the first alone."""
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
    """The latest iteration at which the second stage begins; None where there is none, or where all stages are mixed."""
    iterations = config.training.iterations
    if iterations is None or config.curriculum.mixing == "all":
        return None
    return [*timetable(config.curriculum, iterations, config.training.eval_interval), None][1]
