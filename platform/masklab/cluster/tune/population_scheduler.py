"""Tune's side of a population: its trials are trained in parts, as many at a time as there is room for, and exchange between the parts.

Tune's own scheduler for this (PopulationBasedTraining) is not used: it draws from Python's global random numbers, hands a configuration
over without a word of who gets it, waits for ever when the last trial of a part fails, and knows nothing of an earlier command. Here
a trial that has come to the end of its part lies in its own folder, and its process is handed on to the next that is to train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from masklab.cluster.tune.trial import READY, TrialPayload


class Exchange(Protocol):
    """Who knows the population."""

    @property
    def unbegun(self) -> int:
        """Its members that Tune has not been given yet."""

    def exchange(self, ready: Sequence[int]) -> dict[int, TrialPayload]:
        """Let the worst of the members `ready` take over from the best; what each of them goes on with."""


class PopulationScheduler(FIFOScheduler):  # type: ignore[misc]
    """At most `parallel` trials train at a time. When all that are not over have ended their part, they exchange and go on."""

    _supports_buffered_results = False

    def __init__(self, books: Exchange, parallel: int) -> None:
        super().__init__()
        self._books, self._parallel = books, parallel
        self._members: dict[int, Any] = {}
        self._busy: set[int] = set()
        self._ready: set[int] = set()
        self._idle: set[int] = set()
        """Those whose process waits to be handed on: Tune ends a process that nobody waits for, and one takes seconds to start."""

    def must_wait(self) -> bool:
        """Whether Tune is not to ask for a trial now. It is to go on asking to the end, since it ends processes after the last trial."""
        return len(self._busy) >= self._parallel or bool(self._members and not self._books.unbegun)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial is about to be started."""
        number = trial.config["handed"].number
        self._members[number] = trial
        self._busy.add(number)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A report; after the last one of a part the trial's process waits."""
        if READY not in result:
            return str(TrialScheduler.CONTINUE)
        number = trial.config["handed"].number
        self._busy.discard(number)
        self._ready.add(number)
        self._idle.add(number)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Any | None:
        """The next trial whose part is not over, if there is room for it; a process that waits is freed for it."""
        if self._ready and self._ready == self._members.keys() and not self._books.unbegun:
            for number, handed in self._books.exchange(sorted(self._ready)).items():
                self._members[number].set_config({"handed": handed})
            self._ready.clear()
        chosen = self._next()
        while self._idle and len(self._busy) + len(self._idle) > self._parallel:
            self._free(tune_controller, min(self._idle))
        if chosen is not None and chosen in self._idle:
            self._free(tune_controller, chosen)
        return None if chosen is None else self._members.get(chosen)

    def _next(self) -> int | None:
        """The trial that is to go on, one that waits in a process last; or one that Tune is about to start."""
        if len(self._busy) < self._parallel:
            rest = self._members.keys() - self._ready - self._busy
            if rest:
                number = min(rest, key=lambda number: (number in self._idle, number))
                self._busy.add(number)
                return number
        return next((number for number, trial in self._members.items() if trial.status == Trial.PENDING), None)

    def _free(self, tune_controller: Any, number: int) -> None:
        """Take a trial, whose state lies in its folder, from its process."""
        self._idle.discard(number)
        tune_controller.pause_trial(self._members[number], should_checkpoint=False)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has come to its end."""
        self._forget(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial has failed, and is no longer waited for."""
        self._forget(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial is stopped while it waits."""
        self._forget(trial)

    def _forget(self, trial: Any) -> None:
        number = trial.config["handed"].number
        self._members.pop(number, None)
        self._busy.discard(number)
        self._ready.discard(number)
        self._idle.discard(number)
