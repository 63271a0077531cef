"""Keeps a number of runs going on the cluster until all are done, and tells what became of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from masklab.cluster.compare.plan import ComparisonPlan, PlannedRun, run_record
from masklab.cluster.connection import Share, put
from masklab.cluster.trial import CurveSettings, Trial, host
from masklab.cluster.workers.worker import WorkerSpec, documents_of
from masklab.config.compose.yaml_io import dump
from masklab.errors import UserError, first_line
from masklab.reporting.comparison.record import ComparisonRecord, RunRecord
from masklab.reporting.comparison.terminal import ComparisonTerminal
from masklab.reporting.run.tables import plan_markdown
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.nested_runs import NestedRuns, status_of
from masklab.training.folder_lock import wait_until_left

STOPPING_SECONDS = 10.0
"""How long runs that are stopped have to send their last figures."""


class ComparisonRunner:
    """`record` is what is known of all runs; it is rewritten in the comparison's folder whenever a run begins or ends."""

    def __init__(
        self,
        plan: ComparisonPlan,
        record: ComparisonRecord,
        share: Share,
        nested: NestedRuns | None,
        tags: Mapping[str, str],
        terminal: ComparisonTerminal,
    ) -> None:
        self.plan, self.record, self.share, self.nested, self.tags, self.terminal = plan, record, share, nested, tags, terminal
        self._corpus, self._pools = [put(plan.corpus)], [put(plan.pools)]
        self._task = host.options(num_cpus=share.cpus, num_gpus=share.gpus)
        self._running: dict[Any, tuple[PlannedRun, RunHandle | None]] = {}

    def conduct(self, runs: Sequence[PlannedRun], parallel: int) -> None:
        """Train `runs` in their order, `parallel` at a time; one that fails is noted, and the rest goes on.

        Whatever is raised, by Ctrl-C for instance, first stops the runs that are under way.
        """
        waiting = deque(runs)
        self.terminal.begin(self.record)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < parallel:
                    self._start(waiting.popleft())
                ended, _ = ray.wait(list(self._running), num_returns=1, timeout=5.0) if self._running else ([], [])
                for task in ended:
                    self._end(task)
                if not ended:
                    self.terminal.show(self.record)
        except BaseException:
            self._stop()
            raise
        finally:
            self.terminal.close()

    def _start(self, run: PlannedRun) -> None:
        run.folder.begin(dump(run.config))
        wait_until_left(run.folder.path)
        handle = self._child(run)
        if run.folder.is_finished:  # by a process that outlived its driver for a moment
            self._close(run_record(self.plan, run), handle)
            self.terminal.ended(self.record, run_record(self.plan, run))
            return
        self._running[self._task.remote(self.trial(run, handle))] = run, handle
        self._note(run_record(self.plan, run).model_copy(update={"status": "running"}))

    def trial(self, run: PlannedRun, handle: RunHandle | None) -> Trial:
        """The run as its process gets it: small, since the corpus and the pools are references that all runs share."""
        settings, config = self.plan.config.compare, run.config
        spec = WorkerSpec(
            run=f"{self.plan.name}/{run.name}",
            recipe=config.recipe,
            batches=config.batches.model_copy(update={"producer": False}),
            threads=self.share.cpus,
            use_gpu=bool(self.share.gpus),
            checkpoints=run.folder.checkpoints,
            documents=documents_of(config, self.plan.corpus),
            corpus=self._corpus,
            pools=self._pools,
            relay=None,
            tracking=handle,
        )
        info = run.info(self.plan.corpus.vocabulary.size, self.plan.started_at)
        return Trial(spec, info, CurveSettings(settings.curve_levels, settings.curve_sequences, config.validation.seed))

    def _child(self, run: PlannedRun) -> RunHandle | None:
        if self.nested is None:
            return None
        budget = self.plan.budget
        params = {
            "arm": run.arm.name,
            "curriculum": run.config.curriculum.name,
            "seed": run.seed,
            "budget": f"{budget.unit}={budget.amount:.12g}",
        }
        params |= {"controls_for": run.arm.controls_for} if run.arm.controls_for else {}
        tags = {**self.tags, "curriculum_hash": run.arm.curriculum.digest()}
        description = plan_markdown(run.info(self.plan.corpus.vocabulary.size, self.plan.started_at))
        return self.nested.child(run.folder, run.name, params, tags, description)

    def _end(self, task: Any) -> None:
        run, handle = self._running.pop(task)
        failure: dict[str, str] = {}
        try:
            ray.get(task)
        except Exception as error:  # a run's failure, whatever it is, must not end the others
            failure = {} if run.folder.is_finished else {"status": "failed", "reason": why_failed(error)}
        known = run_record(self.plan, run).model_copy(update=failure)
        self._close(known, handle)
        self.terminal.ended(self.record, known)

    def _stop(self) -> None:
        """Stop what is under way, and note it. A run that cannot end in time goes on from its newest checkpoint all the same."""
        tasks = list(self._running)
        for task, (run, handle) in self._running.items():
            ray.cancel(task)
            # told at once, since a stopped job is killed seconds later
            self._close(run_record(self.plan, run).model_copy(update={"status": "interrupted"}), handle)
        if self.nested:
            self.nested.end(self.nested.parent, "KILLED")
        _, stubborn = ray.wait(tasks, num_returns=len(tasks), timeout=STOPPING_SECONDS) if tasks else ([], [])
        for task in stubborn:
            ray.cancel(task, force=True)
        for task in tasks:
            run, handle = self._running.pop(task)
            known = run_record(self.plan, run)
            self._close(known if known.outcome else known.model_copy(update={"status": "interrupted"}), handle)

    def _close(self, known: RunRecord, handle: RunHandle | None) -> None:
        if self.nested:
            self.nested.end(handle, status_of(known.status))
        self._note(known)

    def _note(self, known: RunRecord) -> None:
        self.record = self.record.with_run(known)
        self.record.write(self.plan.folder.path)


def why_failed(error: BaseException) -> str:
    """Why a task failed, in one line."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UserError):
        return " ".join(str(cause).split())
    if type(cause).__module__.startswith("ray."):
        return f"its process died ({type(cause).__name__}: {first_line(cause)})"
    return f"{type(cause).__name__}: {first_line(cause)}"
