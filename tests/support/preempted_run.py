"""Trains in two workers on two nodes, of which Ray is told that one will be taken away; prints what came of it as JSON.

python preempted_run.py PROJECT HOME NAME [key=value ...]
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path

from jobs_of_tests import checkpoints, meanwhile, train_here, wait_for
from two_nodes import two_nodes

if __name__ == "__main__":
    project, home, name, *overrides = sys.argv[1:]
    folder = Path(home) / "runs" / name
    # the watcher is off in the settings, since a cluster of one process alone has no use for it
    cluster, other = two_nodes(project, 0.5, RAY_TRAIN_ENABLE_PREEMPTION_WATCHER="1")
    import ray
    from ray._raylet import GcsClient
    from ray.core.generated import autoscaler_pb2

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
