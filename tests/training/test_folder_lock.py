"""Locks on a run's folder: who waits for whom, and that a lock ends with the process that held it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from masklab.errors import RunError
from masklab.training.folder_lock import FILE, alone, at_work, wait_until_left

HOLD = """
import sys
from pathlib import Path
from masklab.training.folder_lock import at_work
with at_work(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_many_may_be_at_work_but_only_one_alone(tmp_path: Path) -> None:
    with at_work(tmp_path), at_work(tmp_path), pytest.raises(RunError, match="another process is at work"), alone(tmp_path, 0.0):
        pass
    with alone(tmp_path), pytest.raises(RunError, match="another process is at work"), at_work(tmp_path, 0.0):
        pass
    wait_until_left(tmp_path, 0.0)


def test_a_lock_ends_with_a_process_that_is_killed(tmp_path: Path, root: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(root / "platform")}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(RunError):
            wait_until_left(tmp_path, 0.0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        wait_until_left(tmp_path, 0.0)
    assert (tmp_path / FILE).exists(), "the file itself says nothing"


def test_either_lock_can_be_had_where_it_needs_a_file_open_for_reading_or_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, whose locks are those of POSIX: see flock(2)."""
    asked: list[int] = []

    def flock(file: object, operation: int) -> None:
        asked.append(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE)  # type: ignore[call-overload]

    monkeypatch.setattr(fcntl, "flock", flock)
    with at_work(tmp_path), alone(tmp_path):
        assert asked == [os.O_RDWR, os.O_RDWR]
