"""Keeps a sweep going under Ray Tune until all its trials are over, and the books of what became of each."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray import tune

from masklab.cluster.connection import Share, put
from masklab.cluster.trial import Trial
from masklab.cluster.tune.optuna_search import Suggestions
from masklab.cluster.tune.plan import PlannedTrial, SweepPlan
from masklab.cluster.tune.population import carry_out, exchange_of, is_carried_out, next_exchange
from masklab.cluster.tune.population_scheduler import PopulationScheduler
from masklab.cluster.tune.ray_tune import TUNE_SETTINGS, AskedToStop, TuneCallback, TuneSearcher, cut_too_soon, recall, scheduler_of
from masklab.cluster.tune.trial import FAILURE, OBJECTIVE, SPENT, TrialPayload, host_trial
from masklab.cluster.workers.worker import WorkerSpec, documents_of
from masklab.cluster.workers.worker_group import release
from masklab.config.compose.yaml_io import dump
from masklab.errors import RunError, UserError
from masklab.reporting.run.history import History
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import plan_markdown
from masklab.reporting.sweep.record import SweepRecord, TrialRecord
from masklab.reporting.sweep.tables import SweepTerminal
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.nested_runs import NestedRuns
from masklab.training.folder_lock import wait_until_left
from masklab.training.run_folder import LOOP_SECONDS


class SweepRunner:
    """`record` is what is known of all trials; it is rewritten in the sweep's folder whenever a trial begins or ends."""

    def __init__(
        self,
        plan: SweepPlan,
        record: SweepRecord,
        share: Share,
        nested: NestedRuns | None,
        tags: Mapping[str, str],
        terminal: SweepTerminal,
    ) -> None:
        self.plan, self.record, self.share, self.nested, self.tags, self.terminal = plan, record, share, nested, tags, terminal
        self._corpus = [put(plan.corpus)]
        self._pools: dict[str, list[Any]] = {}
        self._waiting: deque[PlannedTrial] = deque()
        self._suggestions: Suggestions | None = None
        self._running: dict[int, tuple[PlannedTrial, RunHandle | None]] = {}
        self._begun_at: dict[int, float] = {}
        self._reasons: dict[int, str] = {}
        self._stopper = AskedToStop()
        self._error: UserError | None = None

    def conduct(self, trials: Sequence[PlannedTrial], parallel: int, gpus: float) -> None:
        """Train `trials` in their order, and then what is suggested, `parallel` at a time; one that fails is noted, and the rest goes on.

        Raises KeyboardInterrupt once what is under way has been stopped, when Ctrl-C or SIGTERM asks for it.
        """
        for name, value in TUNE_SETTINGS.items():
            os.environ.setdefault(name, value)
        config = self.plan.config
        if not config.scaling.ray_logs:
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what failed is told in a line of our own
        self._waiting = deque(self._as_they_go_on(trials))
        population = PopulationScheduler(self, parallel) if self.plan.exchange_steps else None
        if config.sweep.search == "optuna":
            self._suggestions = Suggestions(config.sweep.distributions, config.sweep.seed, self.plan.wanted, self.record.trials)
        self.terminal.begin(self.record)
        for words in cut_too_soon(config.sweep, [*self.plan.corners, *(trial.config for trial in self.plan.trials)]):
            self.terminal.warn(words)
        left = "interrupted", ""
        try:
            with self._stopper.by_signals():
                tune.run(
                    host_trial,
                    name="ray",
                    storage_path=str(self.plan.folder.path),
                    search_alg=TuneSearcher(self, population.must_wait) if population else TuneSearcher(self),
                    scheduler=population or self._scheduler(),
                    num_samples=self.plan.wanted + bool(population),
                    resources_per_trial=trial_resources(self.share, gpus),
                    # a process takes seconds to start, but one that listens to workers cannot leave them within a trial
                    reuse_actors=self.share.workers == 1,
                    max_concurrent_trials=None if population else parallel,
                    stop=self._stopper,
                    callbacks=[TuneCallback(self)],
                    trial_dirname_creator=lambda trial: f"{trial.config['handed'].number:03d}-{trial.trial_id}",
                    raise_on_failed_trial=False,
                    verbose=0,
                )
            if not self._stopper.asked:
                left = "failed", "Ray Tune gave it up without a reason"
        finally:
            for number in list(self._running):
                self._close(number, *left)
            self.terminal.close()
        if self._error:
            raise self._error
        if self._stopper.asked:
            raise KeyboardInterrupt

    def _scheduler(self) -> Any:
        """Tune's scheduler, which is told what earlier parts of the sweep have shown; None where no trial ends early."""
        scheduler = scheduler_of(self.plan.config.sweep, self.plan.config.training)
        for trial in self.record.trials if scheduler else ():
            try:
                recall(scheduler, trial.name, History.read(self.plan.folder.path / "trials" / trial.name))
            except RunError:
                continue  # the trial itself tells of the damage
        return scheduler

    def begin(self) -> TrialPayload | None:
        """Start the books of the next trial that can be begun."""
        while not self._stopper.asked and (trial := self._next()):
            if not trial.folder.checkpoints.exists() and not self.plan.exchange_steps:  # whose trials wait for each other
                self._begun_at[trial.number] = time.monotonic()
            try:
                trial.folder.begin(dump(trial.config))
                wait_until_left(trial.folder.path)
                self._pools_of(trial)
                handle = self._child(trial)
            except UserError as error:
                self._cannot_begin(self._known(trial.number), error)
                continue
            self._running[trial.number] = trial, handle
            if trial.folder.is_finished:  # by a process that outlived its driver for a moment
                self._close(trial.number, "interrupted")
                continue
            self._note(self._known(trial.number).model_copy(update={"status": "running", "reason": ""}))
            return self._handed(trial.number)
        return None

    @property
    def unbegun(self) -> int:
        """The trials that Tune has not been given yet."""
        return len(self._waiting)

    def exchange(self, ready: Sequence[int]) -> dict[int, TrialPayload]:
        """Let the worst of the population's trials `ready` take over from the best; what each of them goes on with.

        The sweep is stopped, with its error, where a state cannot be handed over; the same command hands it over again.
        """
        now = next_exchange(self.plan, self.record.exchanged_at)
        assert now is not None, "a trial whose part has an end waits for an exchange"
        try:
            self.record = exchange_of(self.plan, self.record, {number: self._running[number][0] for number in ready}, now)
            self.record.write(self.plan.folder.path)
            for known, takeover in self.record.exploits:
                if takeover.iteration == now:
                    trial, handle = self._running[known.number]
                    self._running[known.number] = carry_out(self.plan, trial, takeover), handle
                    self.terminal.exploited(known, takeover)
                    self._tell_values(known, handle)
        except UserError as error:
            self._error, self._stopper.asked = error, True
        return {number: self._handed(number) for number in ready}

    def _as_they_go_on(self, trials: Sequence[PlannedTrial]) -> Iterator[PlannedTrial]:
        """`trials`, each with the state that it has taken over, where an earlier driver was killed before all had theirs."""
        for trial in trials:
            lineage = self._known(trial.number).lineage
            try:
                done = not lineage or is_carried_out(trial, lineage[-1])
                yield trial if done else carry_out(self.plan, trial, lineage[-1])
            except UserError as error:
                self._cannot_begin(self._known(trial.number), error)

    def _next(self) -> PlannedTrial | None:
        """The next trial that waits, or else one that is suggested; one that is unfit is noted with its reason."""
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
        known = known.model_copy(update={"status": "failed", "reason": " ".join(str(error).split())})
        self._note(known)
        if self._suggestions:
            self._suggestions.tell(known)
        self.terminal.ended(self.record, known)

    def reported(self, number: int, result: dict[str, Any]) -> None:
        """Keep the last figures of a trial that is under way."""
        if FAILURE in result:
            self._reasons[number] = result[FAILURE]
        elif number in self._running and SPENT in result:
            figures = {"nelbo_nats": result[OBJECTIVE], "chars": result[SPENT], "iterations": result["iteration"]}
            self.record = self.record.with_trial(TrialRecord.model_validate(self._known(number).model_dump() | figures))
            self.terminal.show(self.record)

    def ended(self, number: int, *, failed: bool) -> None:
        """Close the books of a trial. One that Tune has stopped is interrupted when all are, and else was not worth going on with."""
        if number not in self._running:
            return
        if failed or number in self._reasons:
            self._close(number, "failed", self._reasons.get(number, "its process died"))
        else:
            self._close(number, "interrupted" if self._stopper.asked else "stopped")

    def _close(self, number: int, otherwise: str, reason: str = "") -> None:
        """End a trial, which is finished when its folder says so, and `otherwise` what is told."""
        trial, handle = self._running.pop(number)
        release(trial.folder.path)
        wall = time.monotonic() - self._begun_at[number] if number in self._begun_at else None
        told = {"status": otherwise, "reason": reason, "wall_seconds": wall, "loop_seconds": trial.folder.memory().get(LOOP_SECONDS)}
        known = trial_record(trial, self._known(number).model_copy(update=told))
        if self.nested:
            self.nested.end(handle, {"failed": "FAILED", "interrupted": "KILLED"}.get(known.status, "FINISHED"))  # type: ignore[arg-type]
        self._note(known)
        if self._suggestions:
            self._suggestions.tell(known)
        if known.status != "interrupted":
            self.terminal.ended(self.record, known)

    def _handed(self, number: int) -> TrialPayload:
        """What Tune carries to the process of a trial that has begun."""
        trial, handle = self._running[number]
        return TrialPayload(number, self._trial(trial, self._pools_of(trial), handle), next_exchange(self.plan, self.record.exchanged_at))

    def _trial(self, trial: PlannedTrial, pools: list[Any], handle: RunHandle | None) -> Trial:
        """The trial as its process gets it: small, since the corpus and the pools are references that trials share."""
        config = trial.config
        spec = WorkerSpec(
            run=f"{self.plan.name}/{trial.name}",
            recipe=config.recipe,
            batches=config.batches.model_copy(update={"producer": False}),
            threads=self.share.cpus,
            use_gpu=bool(self.share.gpus),
            checkpoints=trial.folder.checkpoints,
            documents=documents_of(config, self.plan.corpus),
            corpus=self._corpus,
            pools=pools,
            relay=None,
            tracking=handle,
            saves_beside=self.plan.exchange_steps is None,  # a part of a population's trial ends right where it is saved
        )
        info = trial.info(self.plan.corpus.vocabulary.size, self.plan.started_at)
        return Trial(spec, info, workers=self.share.workers)

    def _pools_of(self, trial: PlannedTrial) -> list[Any]:
        """The trial's pools in the object store: once for all trials whose validation stages are the same.

        Pools that no trial uses any more make room for others, so that what the store holds does not grow with the trials.
        """
        stages = stages_of(trial)
        if stages not in self._pools:
            in_use = {stages_of(other) for other in (*self._waiting, *(running for running, _ in self._running.values()))}
            for unused in self._pools.keys() - in_use:
                self._pools.pop(unused).clear()  # Tune keeps what it was handed, and so this very list
            self._pools[stages] = [put(trial.config.recipe.pools(self.plan.corpus))]
        return self._pools[stages]

    def _child(self, trial: PlannedTrial) -> RunHandle | None:
        if self.nested is None:
            return None
        tags = {**self.tags, "curriculum_hash": trial.config.curriculum.digest()}
        description = plan_markdown(trial.info(self.plan.corpus.vocabulary.size, self.plan.started_at))
        handle = self.nested.child(trial.folder, f"{self.plan.name}/{trial.name}", trial.point, tags, description)
        self._tell_values(self._known(trial.number), handle)
        return handle

    def _tell_values(self, known: TrialRecord, handle: RunHandle | None) -> None:
        """Tell the MLflow run of a member of a population which values it has had since when."""
        if self.nested and self.plan.exchange_steps:
            self.nested.vary(handle, known.values_over_time, "; ".join(each.described() for each in known.lineage))

    def _known(self, number: int) -> TrialRecord:
        return next(trial for trial in self.record.trials if trial.number == number)

    def _note(self, known: TrialRecord) -> None:
        self.record = self.record.with_trial(known)
        self.record.write(self.plan.folder.path)


def stages_of(trial: PlannedTrial) -> str:
    """Tells apart trials whose pools differ: their validation stages in words."""
    return repr(trial.config.curriculum.pools)


def trial_resources(share: Share, gpus: float) -> dict[str, float]:
    """What the process of a trial takes of the cluster: its one worker's `share`, with `gpus` of a GPU.

    Of several workers each takes its own share, and the process itself, which only listens, no core. It must take something: a MiB.
    """
    if share.workers > 1:
        return {"memory": 2.0**20}
    return {"CPU": float(share.cpus)} | ({"GPU": gpus} if gpus else {})


def trial_record(trial: PlannedTrial, known: TrialRecord) -> TrialRecord:
    """What is `known` of the trial, or, once it is finished, what its folder says."""
    return known.with_summary(RunSummary.read(trial.folder.path)) if trial.folder.is_finished else known
