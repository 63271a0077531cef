"""Compare curricula with their controls at equal budget: python jobs/compare.py compare.curricula=[A,B] [key=value ...]."""

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
from masklab.config.jobs.registry import COMPARE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.compare import CompareConfig


def run(config: CompareConfig, command: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Train the missing runs of the comparison, and report all of them. Returns the exit status."""
    from masklab.cluster.compare import driver

    if config.report is not None:
        return driver.report_only(config.report, PROJECT)
    session = driver.plan_comparison(config, command, PROJECT, STARTED_AT)  # everything that can be checked without a cluster
    if session.is_reported:
        return driver.report_again(session)
    try:
        with session.connected() as share, session.opened():
            driver.train_missing(session, share)
            driver.finalise(session)
    except KeyboardInterrupt:
        return session.interrupted()
    return session.exit_status


if __name__ == "__main__":
    description = "Compare curricula with each other, with their controls and with a baseline, over seeds."
    sys.exit(main("compare", description, run, PROJECT, tree=COMPARE))
