"""Which trials end early: asynchronous successive halving (Li et al. 2020), by characters seen, not by reports."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from masklab.cluster.tune.trial import OBJECTIVE, SPENT
from masklab.config.jobs.train import Config
from masklab.config.jobs.tune import SweepSettings
from masklab.curriculum.timetable import timetable
from masklab.reporting.numbers import amount
from masklab.reporting.run.history import History
from masklab.training.settings import TrainingSettings


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
                f"{settings.scheduler} may stop a trial after {amount(grace)} characters, before the second stage of {name} begins, "
                f"at {amount(second)} or sooner; raise sweep.grace to {-(-100 * begins // whole) / 100:g}"
            )


def _second_stage(config: Config) -> int | None:
    """The iteration at which the second stage begins at the latest; None where none does, or where it makes no difference."""
    iterations = config.training.iterations
    if iterations is None or config.curriculum.mixing == "all":
        return None
    return [*timetable(config.curriculum, iterations, config.training.eval_interval), None][1]
