"""One whole training run in its own process, for jobs that train many runs: its loop, its reports and its MLflow metrics.

The run resumes from the newest checkpoint in its folder, and is finished when `summary.json` is there. The loop makes its own batches:
many small runs fill the cluster by their number, and a producer for each would only take processor time from the others.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from masklab.cluster.connection import Share
from masklab.cluster.session import ChildRun, RunSession
from masklab.cluster.workers.worker import WorkerSpec, build_loop, from_the_store, set_up_torch
from masklab.cluster.workers.worker_group import run_workers
from masklab.errors import RunError, UserError, first_line, one_line
from masklab.likelihood.mask_ratio_curve import even_levels, mask_ratio_curve
from masklab.likelihood.windows import ScoredWindows
from masklab.reporting.comparison.record import CurveRecord
from masklab.reporting.run.reporter import MetricsLog, Reporter
from masklab.reporting.run.run_info import RunInfo
from masklab.text.corpus import TokenCorpus
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.tracker import STOPPING_SECONDS, NullTracker, Tracker
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.events import Event, RunFinished, RunStopped
from masklab.training.folder_lock import at_work
from masklab.training.loop import Loop
from masklab.training.run_folder import LOOP_SECONDS, RunFolder
from masklab.training.stop import StopRequest, stopping_by_signals


@dataclass(frozen=True)
class CurveSettings:
    """Final weights are scored at `levels` mask ratios, evenly spaced up to 1, on `windows` windows with masks drawn from `seed`."""

    levels: int
    windows: int
    seed: int


class Stopwatch:
    """The seconds that a generator takes to yield its events, without the time that its consumer takes."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, events: Iterator[Event]) -> Iterator[Event]:
        """Yield `events` unchanged, and time them."""
        while True:
            asked = time.perf_counter()
            event = next(events, None)
            self.seconds += time.perf_counter() - asked
            if event is None:
                return
            yield event


@dataclass(frozen=True)
class Trial:
    """A run as its process receives it. No mask-ratio curve is measured where `curve` is None. The loop runs in `workers` workers."""

    spec: WorkerSpec
    info: RunInfo
    curve: CurveSettings | None = None
    workers: int = 1

    @classmethod
    def of(
        cls,
        session: RunSession[Any, Any],
        run: ChildRun,
        share: Share,
        corpus: list[Any],
        pools: list[Any],
        tracking: RunHandle | None,
        *,
        curve: CurveSettings | None = None,
        saves_beside: bool = True,
    ) -> Trial:
        """`run` of `session`. The trial is small to send: `corpus` and `pools` are references that all runs share."""
        plan = session.plan
        spec = WorkerSpec.of(f"{plan.name}/{run.name}", run.config, share, run.folder, plan.corpus, corpus, pools, tracking)
        spec = replace(spec, batches=spec.batches.model_copy(update={"producer": False}), saves_beside=saves_beside)
        return cls(spec, session.info(run), curve, share.workers)


def run_trial(trial: Trial, listen: Callable[[Event], None] = lambda event: None) -> RunFinished:
    """Train to the end of the budget in this process; `listen` receives each event once it is reported.

    The run's files are complete when `summary.json` exists. Raises what the loop raises. Ray cancels a task by SIGINT: the trial then
    saves after a whole step, and raises KeyboardInterrupt.
    """
    request = StopRequest()
    with at_work(trial.info.folder), stopping_by_signals(request, [signal.SIGINT]):
        return _trained(trial, listen, request)


def _trained(trial: Trial, listen: Callable[[Event], None], request: StopRequest) -> RunFinished:
    spec = trial.spec
    set_up_torch(spec.threads)
    if spec.recipe.system.compile:
        torch.compiler.reset()  # a process that has compiled a few models would not compile another
    # Ray shows a task only the GPU that it granted
    loop = build_loop(spec, 0, 1, torch.device("cuda") if spec.use_gpu else None, request)
    tracker: Tracker = MlflowTracker(spec.tracking, "trial") if spec.tracking else NullTracker()
    try:
        return _reported(trial, loop, tracker, listen)
    finally:
        tracker.finish(seconds=STOPPING_SECONDS if request.reason else None)


host = ray.remote(max_retries=0)(run_trial)
"""`run_trial` as a Ray task; `options` gives its share of the cluster."""


def _reported(trial: Trial, loop: Loop, tracker: Tracker, listen: Callable[[Event], None]) -> RunFinished:
    tracker.log_artifact(trial.info.folder / "config.yaml")
    metrics, reporter = MetricsLog(tracker), Reporter(trial.info, tracker)
    finished: RunFinished | None = None
    stopwatch = Stopwatch()
    for event in stopwatch.timed(loop.run()):
        if isinstance(event, RunFinished):
            finished = event
            _score(trial, loop, tracker)
            remember_loop(trial, stopwatch.seconds)
        metrics.handle(event)
        reporter.handle(event)
        listen(event)
        if isinstance(event, RunStopped):
            raise KeyboardInterrupt
    assert finished is not None and loop.store is not None, "a loop ends with RunFinished"
    loop.store.drop_older()
    return finished


def remember_loop(trial: Trial, seconds: float) -> None:
    """Record how many seconds the loop took in this part of the run, its final evaluation included."""
    RunFolder(trial.info.folder).remember(**{LOOP_SECONDS: seconds})


def _score(trial: Trial, loop: Loop, tracker: Tracker) -> None:
    """Write the mask-ratio curve of the final weights; the summary is written afterwards, and marks the run as complete."""
    if trial.curve is None:
        return
    corpus: TokenCorpus = from_the_store(trial.spec.corpus[0])
    windows = ScoredWindows.of(corpus, loop.recipe.training.block_size, trial.curve.windows)
    with loop.worker.precision.autocast():
        curve = mask_ratio_curve(loop.model, windows, even_levels(trial.curve.levels), trial.curve.seed, loop.evaluator.batch_size)
    CurveRecord.of(curve).write(trial.info.folder)
    tracker.log_artifact(trial.info.folder / CurveRecord.FILE)


def run_nested(trial: Trial, listen: Callable[[Event], None] = lambda event: None) -> None:
    """Train to the end of the budget in `trial.workers` workers; `listen` receives each event once it is reported.

    The run's files are complete when `summary.json` exists. Raises what a worker raised.
    """
    spec, folder = trial.spec, trial.info.folder
    share = Share(trial.workers, spec.threads, int(spec.use_gpu))
    with at_work(folder), ExitStack() as stack:
        tracker: Tracker = MlflowTracker(spec.tracking, "trial") if spec.tracking else NullTracker()
        stack.callback(tracker.finish)
        tracker.log_artifact(folder / "config.yaml")
        reporter = Reporter(trial.info, tracker)

        def handle(event: Event) -> None:
            if isinstance(event, RunFinished):
                remember_loop(trial, event.train_seconds + event.evaluation.seconds)
            reporter.handle(event)
            listen(event)

        stopped = run_workers(spec, share, folder, handle)
        if stopped:
            raise RunError(f"its workers were stopped at iteration {stopped.iteration} ({stopped.reason}); it resumes from there")
        if reporter.summary is None:
            raise RuntimeError("the workers ended, but the last event of the trial never arrived")
        CheckpointStore(spec.checkpoints, {}).drop_older()


def failure_reason(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, UserError):
        return one_line(cause)
    if type(cause).__module__.startswith("ray."):
        return f"its process died ({type(cause).__name__}: {first_line(cause)})"
    return f"{type(cause).__name__}: {first_line(cause)}"
