"""A process that logs metrics until it is killed: python logging_process.py HOME URI RUN_ID FIRST. Prints each logged step."""

from __future__ import annotations

import os
import sys
import time
from itertools import count
from pathlib import Path

from masklab.config.jobs.tracking import StoreSettings
from masklab.tracking.mlflow_run import RunHandle
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.spool import sender

if __name__ == "__main__":
    home, uri, run_id, first = sys.argv[1:]
    sender.FIRST_PAUSE, sender.GATHERING = 0.01, 0.01
    handle = RunHandle(Store.of(StoreSettings(uri=uri), Path(home)), Path(home) / "runs" / "run", run_id)
    tracker = MlflowTracker(handle, "worker")
    for step in count(int(first)):
        if step > tracker.logged.training:
            tracker.log_metrics({"train/loss": step / 7, "train/lr": step / 3}, step)
        os.write(1, b"%d\n" % step)
        time.sleep(0.002)
