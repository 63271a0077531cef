"""Population-based training under Ray Tune: trials are trained in parts, as many at a time as fit, with an exchange after each part.

Tune's own scheduler (PopulationBasedTraining) is not used: it draws from Python's global random numbers, does not say which trial
receives a configuration, waits forever when the last trial of a part fails, and cannot resume an earlier command. Here the state of a
trial whose part has ended is in its folder, and its process is given to the next trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from masklab.cluster.tune.ray_tune import PAYLOAD, READY, TrialPayload, number_of


class Population(Protocol):
    """The trials of a population, which exchange state and values."""

    @property
    def unbegun(self) -> int:
        """How many members have not been given to Tune yet."""

    def exchange(self, ready: Sequence[int]) -> dict[int, TrialPayload]:
        """Have the worst of the members `ready` exploit the best; returns the payload with which each of them continues."""


class PopulationScheduler(FIFOScheduler):  # type: ignore[misc]
    """At most `parallel` trials train at a time. When all unfinished trials have ended their part, they exchange and continue."""

    _supports_buffered_results = False

    def __init__(self, population: Population, parallel: int) -> None:
        super().__init__()
        self._population, self._parallel = population, parallel
        self._members: dict[int, Any] = {}
        self._busy: set[int] = set()
        self._ready: set[int] = set()
        self._idle: set[int] = set()
        """Trials whose process is kept for another trial: Tune ends a process without a trial, and a new one takes seconds to start."""

    def must_wait(self) -> bool:
        """Whether Tune must not ask for a trial now. It must keep asking to the end, since it ends processes after the last trial."""
        return len(self._busy) >= self._parallel or bool(self._members and not self._population.unbegun)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        number = number_of(trial)
        self._members[number] = trial
        self._busy.add(number)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """After the last report of a part the trial's process waits."""
        if READY not in result:
            return str(TrialScheduler.CONTINUE)
        number = number_of(trial)
        self._busy.discard(number)
        self._ready.add(number)
        self._idle.add(number)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> Any | None:
        """The next trial whose part has not ended, if there is room for it; a waiting process is freed for it."""
        if self._ready and self._ready == self._members.keys() and not self._population.unbegun:
            for number, payload in self._population.exchange(sorted(self._ready)).items():
                self._members[number].set_config({PAYLOAD: payload})
            self._ready.clear()
        chosen = self._next()
        while self._idle and len(self._busy) + len(self._idle) > self._parallel:
            self._free(tune_controller, min(self._idle))
        if chosen is not None and chosen in self._idle:
            self._free(tune_controller, chosen)
        return None if chosen is None else self._members.get(chosen)

    def _next(self) -> int | None:
        """The trial to continue, those with a waiting process last; else one that Tune is about to start."""
        if len(self._busy) < self._parallel:
            rest = self._members.keys() - self._ready - self._busy
            if rest:
                number = min(rest, key=lambda number: (number in self._idle, number))
                self._busy.add(number)
                return number
        return next((number for number, trial in self._members.items() if trial.status == Trial.PENDING), None)

    def _free(self, tune_controller: Any, number: int) -> None:
        """Free a trial's process; its state is in its folder."""
        self._idle.discard(number)
        tune_controller.pause_trial(self._members[number], should_checkpoint=False)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any] | None = None) -> None:
        """Forget the trial; the same at its error or removal, for which Tune passes no result."""
        number = number_of(trial)
        self._members.pop(number, None)
        self._busy.discard(number)
        self._ready.discard(number)
        self._idle.discard(number)

    on_trial_error = on_trial_remove = on_trial_complete
