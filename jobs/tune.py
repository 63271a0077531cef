"""Search for the best configuration at one budget: python jobs/tune.py sweep=NAME [key=value ...]."""

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
from masklab.config.jobs.registry import TUNE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.tune import TuneConfig


def run(config: TuneConfig, command: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Train the missing trials of the sweep, and report the best one. Returns the exit status."""
    from masklab.cluster.tune import driver

    session = driver.plan_sweep(config, command, PROJECT, STARTED_AT)  # everything that can be checked without a cluster
    if session.is_reported:
        return driver.report_again(session)
    try:
        with session.connected() as share, session.opened():
            driver.train_missing(session, share)
            driver.finalise(session)
    except KeyboardInterrupt:
        return session.interrupted()
    driver.show(session.record)
    return session.exit_status


if __name__ == "__main__":
    sys.exit(main("tune", "Search for the configuration with the lowest NELBO at one budget.", run, PROJECT, tree=TUNE))
