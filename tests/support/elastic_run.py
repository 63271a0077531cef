"""Trains on a cluster of two nodes of which one is lost, and another one comes; prints what came of it as JSON.

python elastic_run.py PROJECT HOME NAME [key=value ...]
"""

from __future__ import annotations

import io
import json
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

from jobs_of_tests import checkpoints, meanwhile, summary, train_here, wait_for
from two_nodes import two_nodes

if __name__ == "__main__":
    project, home, name, *overrides = sys.argv[1:]
    folder = Path(home) / "runs" / name
    cluster, other = two_nodes(project, 1)
    import ray

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
