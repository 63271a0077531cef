"""Measure the numbers of the performance table: python jobs/benchmark.py [key=value ...]."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config


def run(config: Config) -> int:
    """Measure, and print one Markdown table for each kind of measurement."""
    from masklab.cluster.benchmark import report, transfer_table

    for line in chain(report(config, PROJECT), transfer_table(PROJECT)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(
        main("benchmark", "Measure masks per second, the loop on Ray beside the loop alone, and the time to a first step.", run, PROJECT)
    )
