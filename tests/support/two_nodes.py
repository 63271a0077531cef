"""A cluster of two nodes of one core each, for runs that lose one of them; this process is connected to it.

Imported before Ray by programs that are started as `python PROGRAM.py PROJECT HOME NAME [key=value ...]`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from masklab.cluster.connection import RAY_SETTINGS


def two_nodes(project: str | Path, poll_seconds: float, **environment: str) -> tuple[Any, Any]:
    """The cluster and the node that may be taken away. Ray looks for notices of preemption every `poll_seconds`."""
    os.environ |= {**RAY_SETTINGS, "OMP_NUM_THREADS": "1", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": str(poll_seconds), **environment}
    os.environ["PYTHONPATH"] = os.pathsep.join([f"{project}/platform", os.environ.get("PYTHONPATH", "")])
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    return cluster, other
