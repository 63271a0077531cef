"""Sends what waits in run folders to MLflow, once training is over or between its parts. What has been sent is never sent again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from masklab.config.jobs.sync import SyncConfig
from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import RunError, did_you_mean
from masklab.io.paths import absolute_path
from masklab.tracking.mlflow_run import in_one_line, milliseconds, reach
from masklab.tracking.mlflow_store import Store
from masklab.tracking.run_registration import RUN_ID, add_records, run_of
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.pending import DEPTH, amount, spools_beneath
from masklab.tracking.spool.record import StatusChange
from masklab.tracking.spool.spool import Spool
from masklab.training.folder_lock import FILE, alone, refuse_if_driven, wait_until_left
from masklab.training.run_folder import RunFolder

INCOMPLETE = 1
"""Exit status where the store refused a record, or a run is still under way."""


def synchronise(config: SyncConfig, home: Path) -> int:
    """Send what waits in the folders that `config` asks for. Returns the exit status.

    Raises RunError where there is no such run, and TrackingError where a store fails; what was sent by then need not be sent again.
    """
    folder = _folder(config.run, home / "runs")
    spools = list(spools_beneath(folder)) if folder.is_dir() else []
    if not spools:
        print(f"nothing waits for MLflow in {folder}")
        return 0
    sender = _Sender(config.tracking.uri, home)
    sent = [sender.send(spool) for spool in spools]
    print(f"{amount(sum(figures for figures, _ in sent), sum(others for _, others in sent))} sent, of {len(spools)} runs")
    return 0 if sender.is_all else INCOMPLETE


@dataclass
class _Sender:
    uri: str | None
    home: Path
    is_all: bool = field(default=True, init=False)
    _deliveries: dict[str, Delivery] = field(default_factory=dict, init=False)

    def send(self, spool: Spool) -> tuple[int, int]:
        """Send what waits in one run's folder, and tell. Returns how many figures and other records that were."""
        before = spool.waiting()
        try:
            with alone(spool.run, patience=0):
                words = self._sent(spool)
        except (RunError, OSError) as error:
            words = str(error)
        left = spool.waiting()
        sent = max(0, before[0] - left[0]), max(0, before[1] - left[1])
        rest = f", {amount(*left)} left: {words or 'another process is sending them'}" if any(left) else ""
        print(f"{self._name(spool)}: {amount(*sent)} sent{rest}")
        self.is_all = self.is_all and not any(left)
        return sent

    def _sent(self, spool: Spool) -> str:
        """Send what waits in a folder in which nobody is at work; what the store refused, in words."""
        delivery, folder = self._delivery(spool), RunFolder(spool.run)
        is_over = not _is_under_way(spool.run)
        if is_over and spool.status() == "RUNNING":  # its processes were killed before they could tell what became of it
            add_records(spool.run, StatusChange(at=milliseconds(), status="FINISHED" if folder.is_finished else "KILLED"))
        words = ""
        with in_one_line(delivery.store.uri):
            try:
                delivery.deliver(spool, run_of(folder), is_alone=is_over)
            except DeferredError as error:
                words = str(error)
        if words:
            reach(delivery.store)
        if run_id := run_of(folder):
            folder.remember(**{RUN_ID: run_id})
        return words

    def _delivery(self, spool: Spool) -> Delivery:
        """To the store that was asked for, or else to that of the run's own configuration, unless it lies outside of `runs`."""
        is_ours = not Path(self._name(spool)).is_absolute()
        uri = self.uri or (_own_uri(spool.run) if is_ours else None)
        store = Store.of(StoreSettings(uri=uri), self.home)
        if store.uri not in self._deliveries:
            reach(store)
            self._deliveries[store.uri] = Delivery(store)
        return self._deliveries[store.uri]

    def _name(self, spool: Spool) -> str:
        """The run's place in `runs`, or its folder if it lies elsewhere."""
        run, runs = spool.run.resolve(), (self.home / "runs").resolve()
        return str(run.relative_to(runs) if run.is_relative_to(runs) else run)


def _is_under_way(run: Path) -> bool:
    """Whether a command has the run, or the sweep or comparison that it belongs to: also while no process is at work on it, as before
    its workers have come up.
    """
    try:
        refuse_if_driven(run)
        for folder in run.resolve().parents[: DEPTH - 1]:
            if (folder / FILE).is_file():
                wait_until_left(folder, patience=0)
    except RunError:
        return True
    return False


def _folder(reference: str | None, runs: Path) -> Path:
    """The folder that `run=` names. Raises RunError where there is none."""
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
