"""Submits a run as a job to a cluster of its own, stops it once it has saved, and prints what came of it as JSON.

python stopped_job.py PROJECT HOME NAME [key=value ...]
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from pathlib import Path

# Ray's own patience is 3 s; the test is of what is done, and only tells how long it took
os.environ |= {"RAY_JOB_STOP_WAIT_TIME_S": "60", "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
import mlflow.tracking  # ahead of the clock  # noqa: F401
import ray
from jobs_of_tests import checkpoints, status_in_mlflow, wait_for, words
from ray.job_submission import JobSubmissionClient


def submit(client: JobSubmissionClient, command: str) -> str:
    """The number of a job, which is taken once the cluster's agent has come up."""
    jobs: list[str] = []

    def is_taken() -> bool:
        try:
            jobs.append(client.submit_job(entrypoint=command))
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
        return bool(jobs)

    wait_for(is_taken, "an agent that takes the job")
    return jobs[0]


if __name__ == "__main__":
    project, home, name, *overrides = sys.argv[1:]
    os.environ["MASKLAB_HOME"] = home
    folder = Path(home) / "runs" / name
    context = ray.init(address="local", num_cpus=2, include_dashboard=True, dashboard_port=0, log_to_driver=False)
    client = JobSubmissionClient(f"http://{context.dashboard_url}")
    command = shlex.join([sys.executable, f"{project}/jobs/train.py", *words(Path(home), name, *overrides)])
    job = submit(client, command)
    wait_for(lambda: checkpoints(folder) or client.get_job_status(job).is_terminal(), "a checkpoint")
    began = time.monotonic()
    client.stop_job(job)
    killed = wait_for(lambda: status_in_mlflow(Path(home), folder) == "KILLED", "the run's status")
    wait_for(lambda: client.get_job_status(job).is_terminal(), "the end of the job")
    told = {
        "seconds": time.monotonic() - began,
        "killed_seconds": killed,
        "job": str(client.get_job_status(job)),
        "log": client.get_job_logs(job),
    }
    print(json.dumps(told))
    ray.shutdown()
