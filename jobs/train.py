"""Train one curriculum: python jobs/train.py [key=value ...]."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

STARTED_AT = time.time()
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.training.stop import leave  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config


def run(config: Config, command: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Train the composed `config` to the end of its budget, or until a signal comes. Returns the exit status."""
    from masklab.cluster.train import driver

    plan = driver.plan_run(config, PROJECT, STARTED_AT)  # everything that can be checked without a cluster
    if plan.folder.is_finished:
        return driver.report_finished(plan)
    with (
        driver.connect(plan, PROJECT) as share,  # Ray: the cluster at RAY_ADDRESS, or a local one
        driver.open_run(plan, PROJECT, command) as session,  # the run's folder and its MLflow run, closed at the end
    ):
        session.train(share)  # the workers train; the driver reports their events
    return session.exit_status


if __name__ == "__main__":
    leave(main("train", "Train a masked-diffusion language model under one curriculum, and log it as a run.", run, PROJECT))
