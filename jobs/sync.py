"""Send the pending records of run folders to MLflow: python jobs/sync.py [run=NAME] [tracking.uri=URI]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "platform"))

from masklab.config.command_line.main import main  # noqa: E402
from masklab.config.jobs.registry import SYNC  # noqa: E402

if TYPE_CHECKING:
    from masklab.config.jobs.sync import SyncConfig


def run(config: SyncConfig) -> int:
    from masklab.config.home import home_of
    from masklab.tracking.spool.sync import synchronise

    return synchronise(config, home_of(PROJECT))


if __name__ == "__main__":
    description = "Send the records that MLflow has not received: from runs with tracking.offline=true, or whose server was unreachable."
    sys.exit(main("sync", description, run, PROJECT, tree=SYNC))
