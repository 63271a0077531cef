"""The session of a driver that trains many runs, for a comparison or a sweep: their folder, record and MLflow runs.

A session is connected, opened, and closed when its `with` block ends. Which runs are missing is read from the runs' own folders and
the session's record, so the same command resumes an interrupted session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from masklab.cluster.connection import Share, connected, share_for
from masklab.config.compose.yaml_io import dump
from masklab.config.jobs.train import Config
from masklab.reporting.comparison.record import ComparisonRecord
from masklab.reporting.run.run_info import RunInfo
from masklab.reporting.run.tables import plan_markdown
from masklab.reporting.sweep.record import SweepRecord
from masklab.text.preparation import Corpus
from masklab.tracking.mlflow_run import RunHandle, create_run_record
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.nested_runs import REPORTED, NestedRuns, ending, status_of
from masklab.tracking.provenance import DatasetInput, run_tags, source_tags
from masklab.training.folder_lock import alone
from masklab.training.run_folder import RunFolder
from masklab.training.stop import INTERRUPTED

Record = TypeVar("Record", ComparisonRecord, SweepRecord)
PlanT = TypeVar("PlanT", bound="SessionPlan[Any]")


class ChildRun(Protocol):
    """One run of a session, in a folder of its own."""

    @property
    def name(self) -> str: ...

    @property
    def config(self) -> Config: ...

    @property
    def folder(self) -> RunFolder: ...


@dataclass(frozen=True)
class SessionPlan(ABC, Generic[Record]):
    """A comparison or a sweep that has passed every check that needs no cluster."""

    config: Config
    project: Path
    folder: RunFolder
    corpus: Corpus
    store: Store | None
    started_at: float

    @property
    def name(self) -> str:
        return self.folder.path.name

    @property
    @abstractmethod
    def title(self) -> str:
        """The first line of the MLflow run's description."""

    @abstractmethod
    def statuses(self, record: Record) -> dict[RunFolder, str]:
        """The status of each run in `record`, by its folder."""

    def is_over(self, record: Record) -> bool:
        """Whether no run is missing."""
        return all(status != "waiting" for status in self.statuses(record).values())

    def config_yaml(self) -> str:
        return dump(self.config)

    def tags(self) -> dict[str, str]:
        return run_tags(self.project, self.corpus.fingerprint, "") | source_tags(self.config.transfer)

    def refuse_if_changed(self) -> None:
        """Raise RunError where another command has changed the folder since this plan was made."""


def continued(earlier: ComparisonRecord | SweepRecord | None, command: str) -> dict[str, Any]:
    """The fields that a new record takes from the `earlier` one: its commands, then `command` unless it is the last, and its MLflow run."""
    commands = earlier.commands if earlier else ()
    return {
        "commands": commands if command in commands[-1:] else (*commands, command),
        "mlflow_run_id": earlier.mlflow_run_id if earlier else None,
        "browse": earlier.browse if earlier else None,
    }


class RunSession(Generic[PlanT, Record]):
    """`record` describes all runs. `nested` holds their MLflow runs while the session is open; None without tracking."""

    def __init__(self, plan: PlanT, record: Record) -> None:
        self.plan = plan
        self.record: Record = record
        self.nested: NestedRuns | None = None
        self.tags: Mapping[str, str] = {}
        self.is_over = plan.is_over(record)

    @property
    def is_reported(self) -> bool:
        """Whether no run is missing and an earlier driver has reported them all."""
        return self.is_over and bool(self.plan.folder.memory().get(REPORTED, True))

    @property
    def exit_status(self) -> int:
        """1 when a run has failed, else 0."""
        return int("failed" in self.plan.statuses(self.record).values())

    @contextmanager
    def connected(self) -> Iterator[Share | None]:
        """Connect to Ray; yields each worker's share of the cluster. Yields None, without Ray, where no run is missing.

        Raises ResourceError when the cluster is too small.
        """
        if self.is_over:
            yield None
            return
        with connected(self.plan.project / "platform", self.plan.config.scaling.ray_logs):
            yield share_for(self.plan.config, default_cpus=1)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Lock the folder, create or find the session's MLflow run, and end the runs that an earlier driver left as running.

        An error within ends the MLflow run as FAILED, or KILLED after Ctrl-C. Raises RunError where another command works on the
        session, and TrackingError.
        """
        folder = self.plan.folder
        folder.begin(self.plan.config_yaml())
        with alone(folder.path, patience=5.0):
            self.plan.refuse_if_changed()
            folder.remember(**{REPORTED: False})
            self.tags = self.plan.tags()
            self.nested = self._nested_runs()
            if self.nested:
                self.record = self.record.model_copy(update=self.nested.found_by)
            with ending(self.nested):
                yield

    def _nested_runs(self) -> NestedRuns | None:
        plan, config = self.plan, self.plan.config
        if not config.tracking.enabled:
            return None
        declared = create_run_record(
            config.tracking.experiment,
            run_name=plan.name,
            params=config.model_dump(mode="json", exclude={"report"}),
            tags=self.tags,
            datasets=[DatasetInput.of(config.dataset, plan.corpus)],
            description=plan.title,
        )
        nested = NestedRuns(plan.store, plan.folder, declared)
        nested.settle(plan.statuses(self.record))
        return nested

    def note(self, record: Record) -> None:
        """Replace the record, here and in the session's folder."""
        self.record = record
        record.write(self.plan.folder.path)

    def info(self, run: ChildRun) -> RunInfo:
        config = run.config
        return RunInfo.of(
            name=run.name,
            folder=run.folder.path,
            curriculum=config.curriculum,
            mode=config.mode,
            objective=config.objective.describe(),
            training=config.training,
            vocabulary_size=self.plan.corpus.vocabulary.size,
            started_at=self.plan.started_at,
        )

    def child(self, run: ChildRun, name: str, params: Mapping[str, Any]) -> RunHandle | None:
        """Create or find the MLflow run `name` of `run`; None without tracking."""
        if self.nested is None:
            return None
        tags = {**self.tags, "curriculum_hash": run.config.curriculum.digest()}
        return self.nested.child(run.folder, name, params, tags, plan_markdown(self.info(run)))

    def end(self, handle: RunHandle | None, status: str) -> None:
        """End an MLflow run; `status` is a record's word."""
        if self.nested:
            self.nested.end(handle, status_of(status))

    def finalise(self, log: Callable[[MlflowTracker], None]) -> None:
        """Have `log` send the session's report to its MLflow run, end that, and remember that all is reported."""
        if self.nested:
            tracker = MlflowTracker(self.nested.parent, "driver", finish_seconds=300)
            log(tracker)
            tracker.finish("FINISHED")
        self.plan.folder.remember(**{REPORTED: True})

    def interrupted(self) -> int:
        """Print how to resume the session. Returns the exit status."""
        print(f"stopped; the same command with run.name={self.plan.name} goes on with what is not finished")
        return INTERRUPTED
