"""Search for the best configuration at one budget: python jobs/tune.py sweep=NAME [key=value ...]."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

STARTED_AT = time.time()
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import TUNE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.tune import TuneConfig


def run(config: TuneConfig) -> int:
    """Train what is missing of the sweep, and print its best trial."""
    from masklab.cluster.tune.driver import tune

    return tune(config, sys.argv[1:], PROJECT, STARTED_AT)


if __name__ == "__main__":
    sys.exit(main("tune", "Search for the configuration with the lowest NELBO at one budget.", run, PROJECT, tree=TUNE))
