"""The driver of one training run: it connects to the cluster, opens the run, has the workers train it, and reports.

Nothing but the prepared corpus is written until the text, the pools, the tracking store and the cluster have been checked.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from masklab.cluster.connection import Share, connected, put, share_for
from masklab.cluster.train.plan import Plan
from masklab.config.compose.yaml_io import dump
from masklab.config.home import home_of
from masklab.config.jobs.train import Config
from masklab.io.redaction import redact
from masklab.reporting.run.reporter import Reporter
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import plan_markdown
from masklab.reporting.run.terminal import Terminal
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.tracking.mlflow_run import RunHandle, create_run_record, load_mlflow, reach
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.provenance import DatasetInput, run_tags, source_tags
from masklab.tracking.run_registration import opened_run, settle
from masklab.tracking.spool.sync import print_pending
from masklab.tracking.tracker import STOPPING_SECONDS, NullTracker, Status, Tracker
from masklab.training.events import Event, RunStopped, StepDone
from masklab.training.folder_lock import driving, wait_until_left
from masklab.training.stop import INTERRUPTED, StopRequest, stopping_by_signals


def plan_run(config: Config, project: Path, started_at: float) -> Plan:
    """Check everything that needs no cluster. Raises a UserError for whatever is wrong; writes only the corpus."""
    return Plan.of(config, home_of(project), started_at)


def report_finished(plan: Plan) -> int:
    """Print the summary of a run that is finished already, and complete it in MLflow. Returns the exit status."""
    Terminal(plan.info(None)).summary(RunSummary.read(plan.folder.path))
    print(f"run '{plan.name}' is finished already; give another run.name to train again")
    settle(plan.folder)
    print_pending(plan.folder.path, plan.store)
    return 0


@contextmanager
def connect(plan: Plan, project: Path) -> Iterator[Share]:
    """Connect to Ray and to the tracking store, and yield each worker's share of the cluster.

    Raises ResourceError when the cluster cannot do what the run asks, and TrackingError.
    """
    config = plan.config
    if isinstance(plan.corpus, LabelledCorpus):
        print("\n".join(f"{name:<8}{words}" for name, words in plan.corpus.facts(config.training.block_size).items()), flush=True)
    loading = threading.Thread(target=_load_what_comes_next, args=(plan.store,), daemon=True)
    loading.start()
    with connected(project / "platform", config.scaling.ray_logs):
        loading.join()
        share = share_for(config)
        if plan.store:
            reach(plan.store, config.tracking.experiment)
        yield share


def _load_what_comes_next(store: Store | None) -> None:
    """Import what the driver needs once Ray has started: the start is mostly spent on these imports and on waiting for Ray."""
    import ray.train.torch  # noqa: F401

    if store:
        load_mlflow(store)


@contextmanager
def open_run(plan: Plan, project: Path, command: Sequence[str]) -> Iterator[TrainingRun]:
    """Lock the run's folder, create or find its MLflow run, and end both with the run's status.

    A first SIGINT or SIGTERM stops the run after a step, a second one at once. `command` is the command line without the program.
    """
    request = StopRequest()
    plan.folder.begin(dump(plan.config))
    with driving(plan.folder.path):
        wait_until_left(plan.folder.path)
        with stopping_by_signals(request):
            handle = _mlflow_run(plan, project)
            tracker: Tracker = MlflowTracker(handle, "driver", finish_seconds=300) if handle else NullTracker()
            run = TrainingRun(plan, handle, tracker, request, StopMessage(plan.name, command))
            try:
                yield run
            except KeyboardInterrupt:
                run.interrupted()
            finally:
                tracker.finish(run.status, STOPPING_SECONDS if run.status == "KILLED" else None)
                print_pending(plan.folder.path, plan.store)


def _mlflow_run(plan: Plan, project: Path) -> RunHandle | None:
    """Create the MLflow run, or find that of an interrupted one; None where tracking is off."""
    config, corpus = plan.config, plan.corpus
    if not config.tracking.enabled:
        return None
    tags = run_tags(project, corpus.fingerprint, config.curriculum.digest()) | source_tags(config.transfer)
    record = create_run_record(
        config.tracking.experiment,
        run_name=plan.name,
        params=config.model_dump(mode="json"),
        tags=tags | {"pools_digest": plan.pools.digest},
        datasets=[DatasetInput.of(config.dataset, corpus)],
        description=plan_markdown(plan.info(None)),
    )
    return opened_run(plan.folder, plan.store, record)


@dataclass
class TrainingRun:
    """A run that is open for this driver. `status` is sent to MLflow when the run is closed."""

    plan: Plan
    handle: RunHandle | None
    tracker: Tracker
    request: StopRequest
    stop_message: StopMessage
    status: Status = field(default="FAILED", init=False)

    @property
    def exit_status(self) -> int:
        return 0 if self.status == "FINISHED" else INTERRUPTED

    def train(self, share: Share) -> None:
        """Start workers that take `share` each, and report their events until the run is finished or stopped.

        Raises what a worker raised, and KeyboardInterrupt where a stop leaves nothing to wait for.
        """
        from masklab.cluster.workers.supervisor import Supervisor
        from masklab.cluster.workers.worker import WorkerSpec
        from masklab.training.checkpoint.store import CheckpointStore

        plan = self.plan
        terminal = Terminal(plan.info(self.handle))
        try:
            reporter = Reporter(plan.info(self.handle), self.tracker, terminal)
            self.tracker.log_artifact(plan.folder.path / "config.yaml")
            corpus, pools = [put(plan.corpus)], [put(plan.pools)]
            spec = WorkerSpec.of(plan.name, plan.config, share, plan.folder, plan.corpus, corpus, pools, self.handle)
            workers = Supervisor(
                spec, plan.config.scaling, share, plan.folder.path, lambda event: self._report(reporter, event), self.request
            )
            with announce_stop(self.request, self.tracker, self.stop_message.again):
                stopped = workers.run()
            if stopped is None and reporter.summary is None:
                raise RuntimeError("the workers ended, but the last event of the run never arrived")
            if stopped is None and (newest := CheckpointStore(plan.folder.checkpoints, {}).newest()):
                self.tracker.log_artifact(newest.path, "checkpoint")
        finally:
            terminal.close()
        self.status = "KILLED" if stopped else "FINISHED"
        if stopped:
            self.stop_message.print_once(stopped)

    def _report(self, reporter: Reporter, event: Event) -> None:
        """Report an event. The plot of the masks is drawn once training has begun, so that it does not delay the first step."""
        reporter.handle(event)
        plan = self.plan
        if isinstance(event, StepDone) and plan.recipe.mode.fills_masks and not (plan.folder.figures / "masks.png").exists():
            stages = zip(plan.config.curriculum.pools, plan.pools.stages, strict=True)
            reporter.show_masks([(stage.masking.describe(), pool.selected[:32]) for stage, pool in stages])
        if isinstance(event, RunStopped) and self.request.reason:
            self.stop_message.print_once(event)

    def interrupted(self) -> None:
        """Set the status after a KeyboardInterrupt, and print where the run stopped unless it is finished."""
        from masklab.training.checkpoint.store import iteration_reached

        folder = self.plan.folder
        self.status = "FINISHED" if folder.is_finished else "KILLED"
        if self.status == "KILLED":
            self.stop_message.print_once(RunStopped(iteration_reached(folder.checkpoints), self.request.reason or "interrupted"))


@dataclass
class StopMessage:
    """The line that says where a run stopped and how to resume it. It is printed early, since a stopped job is killed seconds later."""

    name: str
    command: Sequence[str]
    is_printed: bool = field(default=False, init=False)

    def print_once(self, stopped: RunStopped) -> None:
        if self.is_printed:
            return
        self.is_printed = True
        where = f"iteration {stopped.iteration:,} is saved" if stopped.iteration else "nothing had been saved yet"
        print(f"stopped ({stopped.reason}); {where}; to go on: {self.again}", flush=True)

    @property
    def again(self) -> str:
        """The command that resumes the run, without the secrets in it."""
        named = any(word.startswith("run.name=") for word in self.command)
        return redact(shlex.join(["python", "jobs/train.py", *self.command, *([] if named else [f"run.name={self.name}"])]))


@contextmanager
def announce_stop(request: StopRequest, tracker: Tracker, again: str) -> Iterator[None]:
    """As soon as `request` is made, print that the run will stop and the command `again` that resumes it, and set KILLED in MLflow.

    A stopped job is killed seconds later, perhaps before it has saved. Nothing is announced once the block within has ended.
    """
    over, announcing = threading.Event(), threading.Lock()

    def announce() -> None:
        while not request.wait(1.0):
            if over.is_set():
                return
        with announcing:
            if not over.is_set():
                tracker.set_status("KILLED")
                print(
                    f"{request.reason}: the run saves at the end of this step and stops (a second one stops it at once); to go on: {again}",
                    flush=True,
                )

    threading.Thread(target=announce, name="masklab-stop-message", daemon=True).start()
    try:
        yield
    finally:
        with announcing:
            over.set()
