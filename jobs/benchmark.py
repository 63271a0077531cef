"""Measure the numbers of the performance table: python jobs/benchmark.py [key=value ...]."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import BENCHMARK  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config

DESCRIPTION = """\
Measure masks per second, the speed of the training loop with and without Ray, the seconds until the first step of a run has finished,
and the speed of transfer. The keys change the speed of the training loop only; its budget and intervals are fixed."""


def run(config: Config) -> int:
    """Measure, and print one Markdown table for each kind of measurement."""
    from masklab.cluster.benchmark import report, transfer_table

    for line in chain(report(config, PROJECT), transfer_table(PROJECT)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main("benchmark", DESCRIPTION, run, PROJECT, tree=BENCHMARK))
