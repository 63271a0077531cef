"""The driver of one run: checks everything that can fail, then starts the workers, shows what they do, and closes the books.

Nothing is written before the text, the pools, the tracking store and the cluster have been found fit.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from masklab.cluster.connection import Share, connect, put, share_for
from masklab.cluster.train.stop_message import StopMessage, announce_stop
from masklab.config.checkpoints.checkpoint_keys import with_generator
from masklab.config.compose.yaml_io import dump
from masklab.config.home import home_of
from masklab.config.jobs.train import Config
from masklab.io.paths import absolute_path
from masklab.reporting.run.reporter import Reporter
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.summary import RunSummary
from masklab.reporting.run.tables import plan_markdown
from masklab.reporting.run.terminal import Terminal
from masklab.sampling.generation import start_of
from masklab.text.labelled_corpus import LabelledCorpus
from masklab.text.preparation import Corpus, corpus_for
from masklab.tracking.mlflow_run import RunHandle, create_run_record, load_mlflow, reach
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.provenance import DatasetInput, run_tags, source_tags
from masklab.tracking.run_registration import opened_run, settle
from masklab.tracking.spool.sync import print_pending
from masklab.tracking.tracker import STOPPING_SECONDS, NullTracker, Status, Tracker
from masklab.training.data.validation_pools import Pools
from masklab.training.events import Event, RunStopped, StepDone
from masklab.training.folder_lock import driving, refuse_if_driven, wait_until_left
from masklab.training.recipe import Recipe
from masklab.training.run_folder import RunFolder
from masklab.training.settings import Ancestor
from masklab.training.stop import INTERRUPTED, StopRequest, stopping_by_signals, terminating_as_interrupt


@dataclass(frozen=True)
class Plan:
    """A run that has passed every check that needs no cluster."""

    config: Config
    folder: RunFolder
    recipe: Recipe
    corpus: Corpus
    pools: Pools
    store: Store | None
    started_at: float

    @classmethod
    def of(cls, config: Config, home: Path, started_at: float) -> Plan:
        """Check config, text, run folder and tracking store. Raises a UserError for whatever is wrong; writes only the corpus."""
        name = config.run.name or f"{config.curriculum.name}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(started_at))}"
        config = with_generator(config.model_copy(update={"run": config.run.model_copy(update={"name": name})}), home)
        parent = absolute_path(config.run.folder, "run.folder") if config.run.folder else home / "runs"
        folder = RunFolder.claim(parent, name, config.model_dump(mode="json"))
        refuse_if_driven(folder.path)
        store = Store.of(config.tracking, home) if config.tracking.is_sent else None
        corpus = corpus_for(config.dataset, home / ".corpora")
        recipe = config.recipe
        recipe.batch_maker(corpus)
        if config.mode.writes:
            start_of(config.sampling, corpus.vocabulary, config.training.block_size)
        pools = recipe.pools(corpus)
        if config.transfer.source:
            _check_source(config.transfer.source, folder)
        if store:
            store.check()
        return cls(config, folder, recipe, corpus, pools, store, started_at)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.folder.path.name

    def info(self, handle: RunHandle | None) -> RunInfo:
        """What reports need to know before the run starts."""
        return RunInfo.of(
            name=self.name,
            folder=self.folder.path,
            curriculum=self.config.curriculum,
            mode=self.config.mode,
            objective=self.config.objective.describe(),
            training=self.config.training,
            vocabulary_size=self.corpus.vocabulary.size,
            started_at=self.started_at,
            labels=self.corpus.labels,
            browse=self.store.browse(handle.experiment_id, handle.run_id) if self.store and handle else None,
        )


def _check_source(source: Ancestor, folder: RunFolder) -> None:
    """Raise CheckpointError unless the first weights are there as they were; a run with a checkpoint of its own needs them no more."""
    from masklab.training.checkpoint.store import CheckpointStore
    from masklab.training.initial_weights import InitialWeights

    if not CheckpointStore(folder.checkpoints, {}).newest():
        InitialWeights.read(source)


def train(config: Config, project: Path, started_at: float, command: Sequence[str] = ()) -> int:
    """Train one curriculum to the end of its budget, or until a signal comes. `command` is what was typed, without the program.

    Returns the exit status; raises UserError for a user's mistake.
    """
    plan = Plan.of(config, home_of(project), started_at)
    if plan.folder.is_finished:
        Terminal(plan.info(None)).summary(RunSummary.read(plan.folder.path))
        print(f"run '{plan.name}' is finished already; give another run.name to train again")
        settle(plan.folder)
        print_pending(plan.folder.path, plan.store)
        return 0
    if isinstance(plan.corpus, LabelledCorpus):
        print("\n".join(f"{name:<8}{words}" for name, words in plan.corpus.facts(config.training.block_size).items()), flush=True)
    loading = threading.Thread(target=_load_what_comes_next, args=(plan.store,), daemon=True)
    loading.start()
    is_ours = connect(project / "platform", config.scaling.ray_logs)
    loading.join()
    import ray

    request = StopRequest()
    with terminating_as_interrupt():  # after Ray has come up, which takes the signals for itself
        try:
            share = share_for(plan.config)
            if plan.store:
                reach(plan.store, config.tracking.experiment)
            plan.folder.begin(dump(plan.config))
            with driving(plan.folder.path):
                wait_until_left(plan.folder.path)
                with stopping_by_signals(request):
                    return _trained(plan, share, _mlflow_run(plan, project), request, command)
        finally:
            if is_ours:
                ray.shutdown()


def _trained(plan: Plan, share: Share, handle: RunHandle | None, request: StopRequest, command: Sequence[str]) -> int:
    """Train, and see to it that the run's status says how it ended. Returns the exit status."""
    status: Status = "FAILED"
    tracker: Tracker = MlflowTracker(handle, "driver", finish_seconds=300) if handle else NullTracker()
    farewell = StopMessage(plan.name, command)
    try:
        stopped = _run_workers(plan, share, handle, tracker, request, farewell)
        status = "KILLED" if stopped else "FINISHED"
        if stopped:
            farewell.say(stopped)
    except KeyboardInterrupt:
        status = "FINISHED" if plan.folder.is_finished else "KILLED"
        if status == "KILLED":
            from masklab.training.checkpoint.store import iteration_reached

            farewell.say(RunStopped(iteration_reached(plan.folder.checkpoints), request.reason or "interrupted"))
    finally:
        tracker.finish(status, STOPPING_SECONDS if status == "KILLED" else None)
        print_pending(plan.folder.path, plan.store)
    return 0 if status == "FINISHED" else INTERRUPTED


def _load_what_comes_next(store: Store | None) -> None:
    """Import what the driver needs once Ray is up: most of its start is spent on these and on waiting for Ray."""
    import ray.train.torch  # noqa: F401

    if store:
        load_mlflow(store)


def _mlflow_run(plan: Plan, project: Path) -> RunHandle | None:
    """Make the MLflow run, or find that of an interrupted one again; None where it is not asked for."""
    config, corpus = plan.config, plan.corpus
    if not config.tracking.enabled:
        return None
    declared = create_run_record(
        config.tracking.experiment,
        run_name=plan.name,
        params=config.model_dump(mode="json"),
        tags=run_tags(project, corpus.fingerprint, config.curriculum.digest())
        | source_tags(config.transfer)
        | {"pools_digest": plan.pools.digest},
        datasets=[DatasetInput.of(config.dataset, corpus)],
        description=plan_markdown(plan.info(None)),
    )
    return opened_run(plan.folder, plan.store, declared)


def _run_workers(
    plan: Plan, share: Share, handle: RunHandle | None, tracker: Tracker, request: StopRequest, farewell: StopMessage
) -> RunStopped | None:
    """Start the workers and report until they are done, or stopped. Raises what they raised."""
    from masklab.cluster.workers.supervisor import Supervisor
    from masklab.cluster.workers.worker import WorkerSpec, documents_of
    from masklab.training.checkpoint.store import CheckpointStore

    with ExitStack() as stack:
        terminal = Terminal(plan.info(handle))
        stack.callback(terminal.close)
        reporter = Reporter(plan.info(handle), tracker, terminal)
        tracker.log_artifact(plan.folder.path / "config.yaml")
        spec = WorkerSpec(
            run=plan.name,
            recipe=plan.recipe,
            batches=plan.config.batches,
            threads=share.cpus,
            use_gpu=bool(share.gpus),
            checkpoints=plan.folder.checkpoints,
            documents=documents_of(plan.config, plan.corpus),
            corpus=[put(plan.corpus)],
            pools=[put(plan.pools)],
            relay=None,
            tracking=handle,
        )

        def report(event: Event) -> None:
            _report(plan, reporter, event)
            if isinstance(event, RunStopped) and request.reason:
                farewell.say(event)

        workers = Supervisor(spec, plan.config.scaling, share, plan.folder.path, report, request)
        with announce_stop(request, tracker, farewell.again):
            stopped = workers.run()
        if stopped:
            return stopped
        if reporter.summary is None:
            raise RuntimeError("the workers ended, but the last event of the run never arrived")
        newest = CheckpointStore(plan.folder.checkpoints, {}).newest()
        if newest:
            tracker.log_artifact(newest.path, "checkpoint")
    return None


def _report(plan: Plan, reporter: Reporter, event: Event) -> None:
    """Report an event; the picture of the masks is drawn once training is under way, not before it."""
    reporter.handle(event)
    if isinstance(event, StepDone) and plan.recipe.mode.fills_masks and not (plan.folder.figures / "masks.png").exists():
        stages = zip(plan.config.curriculum.pools, plan.pools.stages, strict=True)
        reporter.show_masks([(stage.masking.describe(), pool.selected[:32]) for stage, pool in stages])
