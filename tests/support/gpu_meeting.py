"""A sweep whose trials wait in the folder `meeting` until there are four of them: python gpu_meeting.py PROJECT [key=value ...]."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import ray
from jobs_of_tests import job_function

from masklab.cluster.tune import runner
from masklab.cluster.tune.ray_tune import PAYLOAD
from masklab.config.compose.composition import compose_tree
from masklab.config.jobs.registry import TUNE

MEETING = Path(os.environ["MASKLAB_HOME"]) / "meeting"


def meet(config: dict[str, Any]) -> None:
    """Come in, and wait for the others. Raises TimeoutError when they do not come."""
    (MEETING / str(config[PAYLOAD].number)).touch()
    deadline = time.monotonic() + 100
    while len(list(MEETING.iterdir())) < 4:
        if time.monotonic() > deadline:
            raise TimeoutError("the others did not come")
        time.sleep(0.05)


if __name__ == "__main__":
    project, overrides = Path(sys.argv[1]), sys.argv[2:]
    MEETING.mkdir()
    ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False)
    runner.host_trial = meet
    sys.exit(job_function(project, "tune")(compose_tree(TUNE, overrides, project), overrides))
