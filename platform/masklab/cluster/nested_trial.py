"""A trial in several workers, which Ray Train starts: the trial's own process only listens, reports and keeps its figures.

It runs the loop of any run, in the workers of any run. Ray ends a process's actors with it, so that a trial which is stopped, or whose
driver is gone, takes its workers along.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from masklab.cluster.connection import Share
from masklab.cluster.trial import Trial, remember_loop
from masklab.cluster.workers.worker_group import run_workers
from masklab.errors import RunError
from masklab.reporting.run.reporter import Reporter
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.tracker import NullTracker, Tracker
from masklab.training.checkpoint.store import CheckpointStore
from masklab.training.events import Event, RunFinished
from masklab.training.folder_lock import at_work


def run_nested(trial: Trial, listen: Callable[[Event], None] = lambda event: None) -> None:
    """Train to the end of the budget in `trial.workers` workers; `listen` gets each event once it is reported.

    What the run leaves behind is whole when `summary.json` is there. Raises what a worker raised.
    """
    assignment, folder = trial.assignment, trial.outline.folder
    share = Share(trial.workers, assignment.threads, int(assignment.use_gpu))
    with at_work(folder), ExitStack() as stack:
        known = assignment.tracking
        tracker: Tracker = MlflowTracker(known, "trial") if known else NullTracker()
        stack.callback(tracker.finish)
        tracker.log_artifact(folder / "config.yaml")
        reporter = Reporter(trial.outline, tracker)

        def handle(event: Event) -> None:
            if isinstance(event, RunFinished):
                remember_loop(trial, event.train_seconds + event.evaluation.seconds)
            reporter.handle(event)
            listen(event)

        stopped = run_workers(assignment, share, folder, handle)
        if stopped:
            raise RunError(f"its workers were stopped at iteration {stopped.iteration} ({stopped.reason}); it goes on from there")
        if reporter.summary is None:
            raise RuntimeError("the workers ended, but the last event of the trial never arrived")
        CheckpointStore(assignment.checkpoints, {}).drop_older()
