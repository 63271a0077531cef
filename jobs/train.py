"""Train one curriculum: python jobs/train.py [key=value ...]."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

STARTED_AT = time.time()
PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.training.stop import leave  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.train import Config


def run(config: Config) -> int:
    """Train `config` to the end of its budget."""
    from masklab.cluster.train.driver import train

    return train(config, PROJECT, STARTED_AT, sys.argv[1:])


if __name__ == "__main__":
    leave(main("train", "Train a masked-diffusion language model under one curriculum, and keep the run.", run, PROJECT))
