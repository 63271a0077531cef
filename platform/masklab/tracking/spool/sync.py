"""Finds run folders with records that MLflow does not have, prints how many there are, and sends them (`make sync`)."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from masklab.config.jobs.sync import SyncConfig
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, did_you_mean
from masklab.io.paths import absolute_path
from masklab.io.redaction import redact
from masklab.tracking.mlflow_run import in_one_line, milliseconds, reach
from masklab.tracking.mlflow_store import Store
from masklab.tracking.run_registration import RUN_ID, add_records, run_of
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.record import StatusChange
from masklab.tracking.spool.spool import FOLDER, LockOwner, Spool
from masklab.training.folder_lock import FILE, alone, refuse_if_driven, wait_until_left
from masklab.training.run_folder import RunFolder

OTHER_FOLDERS = (FOLDER, "checkpoints", "figures", "ray")
"""Folders of a run that contain no runs."""
DEPTH = 4
"""Folders from `runs/` to the deepest run: a comparison, `arms`, an arm, a seed."""
INCOMPLETE = 1
"""Exit status when the store refused a record, or a run has not ended yet."""


def spools_beneath(folder: Path, depth: int = DEPTH) -> Iterator[Spool]:
    """The spools with pending records of `folder` and of the runs in it, parents before their children."""
    if not Spool(folder).is_empty:
        yield Spool(folder)
    for inner in sorted(folder.iterdir()) if depth else ():
        if inner.is_dir() and not inner.is_symlink() and inner.name not in OTHER_FOLDERS:
            yield from spools_beneath(inner, depth - 1)


def print_pending(run: Path, store: Store | None) -> None:
    """Print how many records of the run in the folder `run`, and of the runs in it, are pending, and how to send them. Nothing if none."""
    pending = _total(spool.pending() for spool in spools_beneath(run))
    if any(pending):
        reason = f"MLflow at {redact(store.uri)} has not accepted" if store else "kept for MLflow, because of tracking.offline=true:"
        print(f"{reason} {_counts(*pending)} of {run.name}; send them with: make sync ARGS={shlex.quote(f'run={run}')}", flush=True)


def synchronise(config: SyncConfig, home: Path) -> int:
    """Send the pending records of the folders that `config` names. Returns the exit status. Raises RunError and TrackingError."""
    folder = _folder(config.run, home / "runs")
    spools = list(spools_beneath(folder)) if folder.is_dir() else []
    if not spools:
        print(f"no records for MLflow are pending in {folder}")
        return 0
    sync = _Sync(config.tracking.uri, home)
    print(f"{_counts(*_total(map(sync.send, spools)))} sent, of {len(spools)} runs")
    return 0 if sync.is_complete else INCOMPLETE


@dataclass
class _Sync:
    uri: str | None
    home: Path
    is_complete: bool = field(default=True, init=False)
    _deliveries: dict[str, Delivery] = field(default_factory=dict, init=False)

    def send(self, spool: Spool) -> tuple[int, int]:
        """Send the pending records of one run and print the result. Returns how many metric values and other records were sent."""
        before = spool.pending()
        try:
            with alone(spool.run, patience=0):
                problem = self._deliver(spool)
        except (RunError, OSError) as error:
            problem = str(error)
        left = spool.pending()
        sent = max(0, before[0] - left[0]), max(0, before[1] - left[1])
        rest = f", {_counts(*left)} left: {problem or 'another process is sending them'}" if any(left) else ""
        print(f"{self._name(spool)}: {_counts(*sent)} sent{rest}")
        self.is_complete = self.is_complete and not any(left)
        return sent

    def _deliver(self, spool: Spool) -> str:
        """Send the spool of a folder that no other process writes to. Returns why the store refused a record; empty if it did not."""
        delivery, folder = self._delivery(spool), RunFolder(spool.run)
        has_ended = not _is_driven(spool.run)
        if has_ended and spool.status() == "RUNNING":  # its processes were killed before they could log the final status
            add_records(spool.run, StatusChange(at=milliseconds(), status="FINISHED" if folder.is_finished else "KILLED"))
        problem = ""
        with in_one_line(delivery.store.uri):
            try:
                delivery.deliver(spool, run_of(folder), others=LockOwner.NOBODY if has_ended else LockOwner.ANYONE)
            except DeferredError as error:
                problem = str(error)
        if problem:
            reach(delivery.store)
        if run_id := run_of(folder):
            folder.remember(**{RUN_ID: run_id})
        return problem

    def _delivery(self, spool: Spool) -> Delivery:
        """To `tracking.uri`, else to the store of the run's own configuration, which is ignored for folders outside of `runs`."""
        is_ours = not Path(self._name(spool)).is_absolute()
        uri = self.uri or (_own_uri(spool.run) if is_ours else None)
        store = Store.of(StoreSettings(uri=uri), self.home)
        if store.uri not in self._deliveries:
            reach(store)
            self._deliveries[store.uri] = Delivery(store)
        return self._deliveries[store.uri]

    def _name(self, spool: Spool) -> str:
        """The run's path in `runs`; its absolute path if it is elsewhere."""
        run, runs = spool.run.resolve(), (self.home / "runs").resolve()
        return str(run.relative_to(runs) if run.is_relative_to(runs) else run)


def _is_driven(run: Path) -> bool:
    """Whether a command drives the run, or its sweep or comparison; also before its workers have started."""
    try:
        refuse_if_driven(run)
        for folder in run.resolve().parents[: DEPTH - 1]:
            if (folder / FILE).is_file():
                wait_until_left(folder, patience=0)
    except RunError:
        return True
    return False


def _folder(reference: str | None, runs: Path) -> Path:
    """The folder that `run=` names. Raises RunError if there is none."""
    if reference is None:
        return runs
    for folder in (runs / reference, absolute_path(reference)):
        if folder.is_dir():
            return folder
    known = sorted(path.name for path in runs.iterdir() if path.is_dir()) if runs.is_dir() else []
    raise RunError(f"run = {reference!r}: no such run in {runs}{did_you_mean(reference, known)}")


def _own_uri(run: Path) -> str | None:
    with suppress(OSError, ValueError, yaml.YAMLError):
        tracking = (RunFolder(run).config() or {}).get("tracking")
        uri = tracking.get("uri") if isinstance(tracking, Mapping) else None
        return uri if isinstance(uri, str) else None
    return None


def _total(counts: Iterator[tuple[int, int]]) -> tuple[int, int]:
    values, others = zip((0, 0), *counts, strict=True)
    return sum(values), sum(others)


def _counts(values: int, others: int) -> str:
    return f"{values:,} metric values and {others:,} other records"
