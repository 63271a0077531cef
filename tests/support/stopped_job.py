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
from ray._private.parameter import RayParams
from ray.job_submission import JobSubmissionClient


def with_an_agent_of_its_own() -> None:
    """Have the next cluster's agent, which takes jobs, take a free port: that of any other cluster on this machine is the same."""
    plain = RayParams.__init__
    RayParams.__init__ = lambda self, *given, **named: plain(self, *given, dashboard_agent_listen_port=0, **named)


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
    with_an_agent_of_its_own()
    context = ray.init(address="local", num_cpus=2, include_dashboard=True, dashboard_port=0, log_to_driver=False)
    client = JobSubmissionClient(f"http://{context.dashboard_url}")
    # Ray tells a job the address of whichever cluster of this machine it finds first
    here = ["env", f"RAY_ADDRESS={context.address_info['gcs_address']}"]
    command = shlex.join([*here, sys.executable, f"{project}/jobs/train.py", *words(Path(home), name, *overrides)])
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
