"""Trains the trials of a sweep under Ray Tune, and records how each of them ends."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from ray import tune

from masklab.cluster.connection import Share, put
from masklab.cluster.session import RunSession
from masklab.cluster.trial import Trial
from masklab.cluster.tune.optuna_search import Suggestions
from masklab.cluster.tune.plan import PlannedTrial, SweepPlan
from masklab.cluster.tune.population import exchange_of, exploit, is_exploited, next_exchange
from masklab.cluster.tune.population_scheduler import PopulationScheduler
from masklab.cluster.tune.ray_tune import (
    FAILURE,
    OBJECTIVE,
    SPENT,
    TUNE_SETTINGS,
    RequestStopper,
    TrialPayload,
    TuneCallback,
    TuneSearcher,
    cut_too_soon,
    host_trial,
    number_of,
    recall,
    scheduler_of,
)
from masklab.cluster.workers.worker_group import release
from masklab.config.compose.yaml_io import dump
from masklab.errors import RunError, UserError, one_line
from masklab.reporting.run.history import History
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal
from masklab.tracking.mlflow_run import RunHandle
from masklab.training.folder_lock import wait_until_left
from masklab.training.run_folder import LOOP_SECONDS
from masklab.training.stop import StopRequest, stopping_by_signals


class SweepRunner:
    """Trains trials of an open `session`, whose record it updates whenever a trial begins or ends."""

    def __init__(self, session: RunSession[SweepPlan, SweepRecord], share: Share, terminal: SweepTerminal) -> None:
        self.session, self.share, self.terminal = session, share, terminal
        self.plan = session.plan
        self._corpus = [put(self.plan.corpus)]
        self._pools: dict[str, list[Any]] = {}
        self._waiting: deque[PlannedTrial] = deque()
        self._suggestions: Suggestions | None = None
        self._running: dict[int, tuple[PlannedTrial, RunHandle | None]] = {}
        self._begun_at: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._request = StopRequest()
        self._error: UserError | None = None

    @property
    def record(self) -> SweepRecord:
        return self.session.record

    def run(self, trials: Sequence[PlannedTrial], parallel: int, gpus: float) -> None:
        """Train `trials` in their order, then suggested ones, `parallel` at a time with `gpus` of a GPU each.

        A trial that fails is recorded, and the others continue. After Ctrl-C or SIGTERM the running trials are stopped, and
        KeyboardInterrupt is raised.
        """
        for name, value in TUNE_SETTINGS.items():
            os.environ.setdefault(name, value)
        config = self.plan.config
        if not config.scaling.ray_logs:
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are printed in a line of our own
        self._waiting = deque(self._resumed(trials))
        population = PopulationScheduler(self, parallel) if self.plan.exchange_steps else None
        if config.sweep.search == "optuna":
            self._suggestions = Suggestions(config.sweep.distributions, config.sweep.seed, self.plan.wanted, self.record.trials)
        self.terminal.begin(self.record)
        for words in cut_too_soon(config.sweep, [*self.plan.corners, *(trial.config for trial in self.plan.trials)]):
            self.terminal.warn(words)
        left = "interrupted", ""
        try:
            with stopping_by_signals(self._request):
                tune.run(
                    host_trial,
                    name="ray",
                    storage_path=str(self.plan.folder.path),
                    search_alg=TuneSearcher(self, population.must_wait) if population else TuneSearcher(self),
                    scheduler=population or self._scheduler(),
                    num_samples=self.plan.wanted + bool(population),
                    resources_per_trial=trial_resources(self.share, gpus),
                    # a process takes seconds to start, but one that hosts several workers cannot leave them within a trial
                    reuse_actors=self.share.workers == 1,
                    max_concurrent_trials=None if population else parallel,
                    stop=RequestStopper(self._request),
                    callbacks=[TuneCallback(self)],
                    trial_dirname_creator=lambda trial: f"{number_of(trial):03d}-{trial.trial_id}",
                    raise_on_failed_trial=False,
                    verbose=0,
                )
            if self._request.reason is None:
                left = "failed", "Ray Tune gave it up without a reason"
        finally:
            for number in list(self._running):
                self._close(number, *left)
            self.terminal.close()
        if self._error:
            raise self._error
        if self._request.reason:
            raise KeyboardInterrupt

    def _scheduler(self) -> Any:
        """Tune's scheduler with the evaluations of earlier parts of the sweep; None where no trial ends early."""
        scheduler = scheduler_of(self.plan.config.sweep, self.plan.config.training)
        for trial in self.record.trials if scheduler else ():
            try:
                recall(scheduler, trial.name, History.read(self.plan.folder.path / "trials" / trial.name))
            except RunError:
                continue  # the trial itself reports the damage
        return scheduler

    def begin(self) -> TrialPayload | None:
        """Open the folder and the MLflow run of the next trial that can begin; None when there is no other."""
        while self._request.reason is None and (trial := self._next()):
            if not trial.folder.checkpoints.exists() and not self.plan.exchange_steps:  # a population's trials wait for each other
                self._begun_at[trial.number] = time.monotonic()
            try:
                trial.folder.begin(dump(trial.config))
                wait_until_left(trial.folder.path)
                self._pools_of(trial)
                handle = self.session.child(trial, f"{self.plan.name}/{trial.name}", trial.point)
                self._log_values(self._known(trial.number), handle)
            except UserError as error:
                self._cannot_begin(self._known(trial.number), error)
                continue
            self._running[trial.number] = trial, handle
            if trial.folder.is_finished:  # by a process that briefly outlived its driver
                self._close(trial.number, "interrupted")
                continue
            self._note(self._known(trial.number).model_copy(update={"status": "running", "reason": ""}))
            return self._payload(trial.number)
        return None

    @property
    def unbegun(self) -> int:
        return len(self._waiting)

    def exchange(self, ready: Sequence[int]) -> dict[int, TrialPayload]:
        """See Population. Where a state cannot be copied, the sweep stops with that error; the same command copies it again."""
        now = next_exchange(self.plan, self.record.exchanged_at)
        assert now is not None, "only a trial whose part has an end waits for an exchange"
        try:
            self.session.note(exchange_of(self.plan, self.record, {number: self._running[number][0] for number in ready}, now))
            for known, event in self.record.exploits:
                if event.iteration == now:
                    trial, handle = self._running[known.number]
                    self._running[known.number] = exploit(self.plan, trial, event), handle
                    self.terminal.exploited(known, event)
                    self._log_values(known, handle)
        except UserError as error:
            self._error = error
            self._request.ask(str(error))
        return {number: self._payload(number) for number in ready}

    def _resumed(self, trials: Sequence[PlannedTrial]) -> Iterator[PlannedTrial]:
        """`trials`, after the exchange that an earlier driver had recorded but not completed when it was killed."""
        for trial in trials:
            lineage = self._known(trial.number).lineage
            try:
                done = not lineage or is_exploited(trial, lineage[-1])
                yield trial if done else exploit(self.plan, trial, lineage[-1])
            except UserError as error:
                self._cannot_begin(self._known(trial.number), error)

    def _next(self) -> PlannedTrial | None:
        """The next waiting trial, else a suggested one; an invalid suggestion is recorded as failed."""
        if self._waiting:
            return self._waiting.popleft()
        while self._suggestions and len(self.record.trials) < self.plan.wanted:
            number = max((trial.number for trial in self.record.trials), default=-1) + 1
            point = self._suggestions.ask(number)
            try:
                trial = self.plan.trial(number, point)
            except UserError as error:
                self._cannot_begin(TrialRecord(number=number, values=point, curriculum="–"), error)
                continue
            self._note(TrialRecord(number=number, values=point, curriculum=trial.config.curriculum.name))
            return trial
        return None

    def _cannot_begin(self, known: TrialRecord, error: UserError) -> None:
        known = known.model_copy(update={"status": "failed", "reason": one_line(error)})
        self._note(known)
        if self._suggestions:
            self._suggestions.tell(known)
        self.terminal.ended(self.record, known)

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """Record the last metrics of a running trial, without writing the record."""
        if FAILURE in result:
            self._reasons[number] = result[FAILURE]
        elif number in self._running and SPENT in result:
            metrics = {"nelbo_nats": result[OBJECTIVE], "chars": result[SPENT], "iterations": result["iteration"]}
            known = TrialRecord.model_validate(self._known(number).model_dump() | metrics)
            self.session.record = self.record.with_trial(known)
            self.terminal.show(self.record)

    def ended(self, number: int, *, failed: bool) -> None:
        """Close a trial. One that Tune has stopped is `interrupted` when the sweep is stopping, else `stopped` as one of the worst."""
        if number not in self._running:
            return
        if failed or number in self._reasons:
            self._close(number, "failed", self._reasons.get(number, "its process died"))
        else:
            self._close(number, "interrupted" if self._request.reason else "stopped")

    def _close(self, number: int, otherwise: str, reason: str = "") -> None:
        """Close a trial: it is finished or failed if its folder has a summary, else its status is `otherwise`."""
        trial, handle = self._running.pop(number)
        release(trial.folder.path)
        wall = time.monotonic() - self._begun_at[number] if number in self._begun_at else None
        update = {"status": otherwise, "reason": reason, "wall_seconds": wall, "loop_seconds": trial.folder.memory().get(LOOP_SECONDS)}
        known = self._known(number).model_copy(update=update)
        if trial.folder.is_finished:
            known = known.with_summary(RunSummary.read(trial.folder.path))
        self.session.end(handle, known.status)
        self._note(known)
        if self._suggestions:
            self._suggestions.tell(known)
        if known.status != "interrupted":
            self.terminal.ended(self.record, known)

    def _payload(self, number: int) -> TrialPayload:
        planned, handle = self._running[number]
        # a part of a population's trial ends right where it is saved
        beside = self.plan.exchange_steps is None
        trial = Trial.of(self.session, planned, self.share, self._corpus, self._pools_of(planned), handle, saves_beside=beside)
        return TrialPayload(number, trial, next_exchange(self.plan, self.record.exchanged_at))

    def _pools_of(self, trial: PlannedTrial) -> list[Any]:
        """A reference to the trial's pools in the object store, shared by all trials with the same validation stages.

        Pools that no trial uses any more are removed, so that the store does not grow with the number of trials.
        """
        stages = stages_of(trial)
        if stages not in self._pools:
            in_use = {stages_of(other) for other in (*self._waiting, *(running for running, _ in self._running.values()))}
            for unused in self._pools.keys() - in_use:
                self._pools.pop(unused).clear()  # Tune keeps its payloads, and so this very list
            self._pools[stages] = [put(trial.config.recipe.pools(self.plan.corpus))]
        return self._pools[stages]

    def _log_values(self, known: TrialRecord, handle: RunHandle | None) -> None:
        """Log to the MLflow run of a population's trial which values it has had since which iteration."""
        if self.session.nested and self.plan.exchange_steps:
            self.session.nested.vary(handle, known.values_over_time, "; ".join(each.described() for each in known.lineage))

    def _known(self, number: int) -> TrialRecord:
        return next(trial for trial in self.record.trials if trial.number == number)

    def _note(self, known: TrialRecord) -> None:
        self.session.note(self.record.with_trial(known))


def stages_of(trial: PlannedTrial) -> str:
    """A key that differs where the trials' pools differ: the validation stages as text."""
    return repr(trial.config.curriculum.pools)


def trial_resources(share: Share, gpus: float) -> dict[str, float]:
    """The resources of a trial's process: the `share` of its one worker, with `gpus` of a GPU.

    Several workers take their own shares; the process then only receives events and takes no core, but 1 MiB, since Ray needs a number.
    """
    if share.workers > 1:
        return {"memory": 2.0**20}
    return {"CPU": float(share.cpus)} | ({"GPU": gpus} if gpus else {})
