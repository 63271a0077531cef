"""Trains in two workers on two nodes, of which Ray is told that one will be taken away; prints what came of it as JSON.

python preempted_run.py PROJECT HOME NAME [key=value ...]
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path

from jobs_of_tests import checkpoints, meanwhile, train_here, wait_for

from masklab.cluster.connection import RAY_SETTINGS

os.environ |= {**RAY_SETTINGS, "OMP_NUM_THREADS": "1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5"}
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "1"  # which a cluster of this process alone has no use for
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

if __name__ == "__main__":
    project, home, name, *overrides = sys.argv[1:]
    os.environ["PYTHONPATH"] = os.pathsep.join([f"{project}/platform", os.environ.get("PYTHONPATH", "")])
    folder = Path(home) / "runs" / name
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    printed, seconds = io.StringIO(), []

    def give_notice() -> None:
        wait_for(lambda: checkpoints(folder), "a checkpoint")
        reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        GcsClient(address=cluster.address).drain_node(other.node_id, reason, "a test", 2**53)
        seconds.append(wait_for(lambda: "stopped (" in printed.getvalue() or "goes on" in printed.getvalue(), "the run's end"))

    with redirect_stdout(printed), meanwhile(give_notice):
        status = train_here(Path(project), Path(home), name, *overrides)
    print(json.dumps({"status": status, "printed": printed.getvalue(), "seconds": seconds[0], "saved": checkpoints(folder)[-1]}))
    ray.shutdown()
    cluster.shutdown()
