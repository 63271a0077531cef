"""Compare curricula with their controls at equal budget: python jobs/compare.py compare.curricula=[A,B] [key=value ...]."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

STARTED_AT = time.time()
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import COMPARE  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.compare import CompareConfig


def run(config: CompareConfig) -> int:
    """Train what is missing of the comparison, and report it."""
    from masklab.cluster.compare.driver import compare

    return compare(config, sys.argv[1:], PROJECT, STARTED_AT)


if __name__ == "__main__":
    sys.exit(
        main(
            "compare", "Compare curricula with each other, with their controls and with a baseline, over seeds.", run, PROJECT, tree=COMPARE
        )
    )
