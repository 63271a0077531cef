"""Trains the runs of a comparison as tasks of Ray, a number of them at a time.

The runs share the corpus and the pools, which are put into the object store once. None depends on when another one runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import ray

from masklab.cluster.compare.plan import ComparisonPlan, PlannedRun, run_record
from masklab.cluster.connection import Share, put
from masklab.cluster.session import RunSession
from masklab.cluster.trial import CurveSettings, Trial, failure_reason, host
from masklab.config.compose.yaml_io import dump
from masklab.reporting.comparison.record import ComparisonRecord, RunRecord
from masklab.reporting.comparison.terminal import ComparisonTerminal
from masklab.tracking.mlflow_run import RunHandle
from masklab.training.folder_lock import wait_until_left

STOPPING_SECONDS = 10.0
"""How long stopped runs have to send their last metrics."""


class ComparisonRunner:
    """Trains runs of an open `session`, whose record it updates whenever a run begins or ends."""

    def __init__(self, session: RunSession[ComparisonPlan, ComparisonRecord], share: Share, terminal: ComparisonTerminal) -> None:
        self.session, self.share, self.terminal = session, share, terminal
        self.plan = session.plan
        self._corpus, self._pools = [put(self.plan.corpus)], [put(self.plan.pools)]
        self._task = host.options(num_cpus=share.cpus, num_gpus=share.gpus)
        self._running: dict[Any, tuple[PlannedRun, RunHandle | None]] = {}

    def run(self, runs: Sequence[PlannedRun], parallel: int) -> None:
        """Train `runs` in their order, `parallel` at a time. A run that fails is recorded, and the others continue.

        Any exception, Ctrl-C included, first stops the running ones.
        """
        waiting = deque(runs)
        self.terminal.begin(self.session.record)
        try:
            while waiting or self._running:
                while waiting and len(self._running) < parallel:
                    self._start(waiting.popleft())
                ended, _ = ray.wait(list(self._running), num_returns=1, timeout=5.0) if self._running else ([], [])
                for task in ended:
                    self._end(task)
                if not ended:
                    self.terminal.show(self.session.record)
        except BaseException:
            self._stop()
            raise
        finally:
            self.terminal.close()

    def _start(self, run: PlannedRun) -> None:
        run.folder.begin(dump(run.config))
        wait_until_left(run.folder.path)
        handle = self.session.child(run, run.name, self._params(run))
        if run.folder.is_finished:  # by a process that briefly outlived its driver
            self._report_end(run_record(self.plan, run), handle)
            return
        self._running[self._task.remote(self.trial(run, handle))] = run, handle
        self._note(run_record(self.plan, run).model_copy(update={"status": "running"}))

    def trial(self, run: PlannedRun, handle: RunHandle | None) -> Trial:
        settings = self.plan.config.compare
        curve = CurveSettings(settings.curve_levels, settings.curve_sequences, run.config.validation.seed)
        return Trial.of(self.session, run, self.share, self._corpus, self._pools, handle, curve=curve)

    def _params(self, run: PlannedRun) -> dict[str, Any]:
        budget = self.plan.budget
        params = {
            "arm": run.arm.name,
            "curriculum": run.config.curriculum.name,
            "seed": run.seed,
            "budget": f"{budget.unit}={budget.amount:.12g}",
        }
        return params | ({"controls_for": run.arm.controls_for} if run.arm.controls_for else {})

    def _end(self, task: Any) -> None:
        run, handle = self._running.pop(task)
        failure: dict[str, str] = {}
        try:
            ray.get(task)
        except Exception as error:  # a run's failure, whatever it is, must not end the others
            failure = {} if run.folder.is_finished else {"status": "failed", "reason": failure_reason(error)}
        self._report_end(run_record(self.plan, run).model_copy(update=failure), handle)

    def _stop(self) -> None:
        """Stop the running ones, and record it. A run that cannot end in time resumes from its newest checkpoint all the same."""
        tasks = list(self._running)
        for task, (run, handle) in self._running.items():
            ray.cancel(task)
            # recorded at once, since a stopped job is killed seconds later
            self._close(run_record(self.plan, run).model_copy(update={"status": "interrupted"}), handle)
        if nested := self.session.nested:
            nested.end(nested.parent, "KILLED")
        _, stubborn = ray.wait(tasks, num_returns=len(tasks), timeout=STOPPING_SECONDS) if tasks else ([], [])
        for task in stubborn:
            ray.cancel(task, force=True)
        for task in tasks:
            run, handle = self._running.pop(task)
            known = run_record(self.plan, run)
            self._close(known if known.outcome else known.model_copy(update={"status": "interrupted"}), handle)

    def _report_end(self, known: RunRecord, handle: RunHandle | None) -> None:
        self._close(known, handle)
        self.terminal.ended(self.session.record, known)

    def _close(self, known: RunRecord, handle: RunHandle | None) -> None:
        self.session.end(handle, known.status)
        self._note(known)

    def _note(self, known: RunRecord) -> None:
        self.session.note(self.session.record.with_run(known))
