"""What waits for MLflow in run folders, told in a line."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from masklab.io.redaction import redact
from masklab.tracking.mlflow_store import Store
from masklab.tracking.spool.spool import FOLDER, Spool

OTHER_FOLDERS = (FOLDER, "checkpoints", "figures", "ray")
"""Folders of a run that hold no runs."""

DEPTH = 4
"""Folders from that of all runs to that of one: its comparison, `arms`, its arm, its seed."""


def spools_beneath(folder: Path, depth: int = DEPTH) -> Iterator[Spool]:
    """The spools of `folder` and of the runs within it in which something waits, parents before their children."""
    if not Spool(folder).is_empty:
        yield Spool(folder)
    for inner in sorted(folder.iterdir()) if depth else ():
        if inner.is_dir() and not inner.is_symlink() and inner.name not in OTHER_FOLDERS:
            yield from spools_beneath(inner, depth - 1)


def amount(figures: int, others: int) -> str:
    """`512 figures and 3 other records`."""
    return f"{figures:,} figures and {others:,} other records"


def print_pending(run: Path, store: Store | None) -> None:
    """Print what of the run in the folder `run`, and of those within it, has not come to MLflow, and how it does. Nothing if all has."""
    waiting = [spool.waiting() for spool in spools_beneath(run)]
    if any(any(counts) for counts in waiting):
        words = amount(sum(figures for figures, _ in waiting), sum(others for _, others in waiting))
        reason = f"MLflow at {redact(store.uri)} has not taken" if store else "kept for MLflow, by tracking.offline=true:"
        print(f"{reason} {words} of {run.name}; send them with: make sync ARGS={shlex.quote(f'run={run}')}", flush=True)
