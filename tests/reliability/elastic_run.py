"""Trains on a cluster of two nodes of which one is lost, and another one comes; prints what came of it as JSON.

python elastic_run.py PROJECT HOME NAME [key=value ...]
"""

from __future__ import annotations

import io
import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from jobs_of_tests import checkpoints, meanwhile, summary, train_here, wait_for

from masklab.cluster.connection import RAY_SETTINGS

os.environ |= {**RAY_SETTINGS, "OMP_NUM_THREADS": "1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1"}
import ray
from ray.cluster_utils import Cluster

if __name__ == "__main__":
    project, home, name, *overrides = sys.argv[1:]
    os.environ["PYTHONPATH"] = os.pathsep.join([f"{project}/platform", os.environ.get("PYTHONPATH", "")])
    folder = Path(home) / "runs" / name
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    printed, seconds = io.StringIO(), {}

    def further() -> bool:
        """Whether there is a checkpoint beyond the last one that was seen."""
        return bool(checkpoints(folder)) and checkpoints(folder)[-1] > seconds.get("saved", 0)

    def shake() -> None:
        wait_for(further, "a checkpoint of two workers")
        cluster.remove_node(other, allow_graceful=False)
        seconds["saved"] = checkpoints(folder)[-1]
        seconds["fewer"] = wait_for(further, "a checkpoint of one worker")
        cluster.add_node(num_cpus=1)
        began = time.monotonic()
        wait_for(lambda: "more workers; the run goes on" in printed.getvalue(), "word of more workers")
        seconds["saved"] = checkpoints(folder)[-1]
        wait_for(further, "a checkpoint of two workers")
        seconds["more"] = time.monotonic() - began

    statuses: list[int] = []

    def train() -> None:
        statuses.append(train_here(Path(project), Path(home), name, *overrides))

    with redirect_stdout(printed), meanwhile(train):  # nodes can be added from the main thread alone
        shake()
    status = statuses[0]
    digest = summary(folder)["batches_digest"] if status == 0 else ""
    print(json.dumps({"status": status, "printed": printed.getvalue(), "digest": digest, **seconds}))
    ray.shutdown()
    cluster.shutdown()
