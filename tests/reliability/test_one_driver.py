"""Two commands with one run.name: the second is refused at once, and told who has the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input import Victim

from masklab.errors import RunError
from masklab.training.folder_lock import DRIVER, FILE, alone, driving, refuse_if_driven

HOLD = """
import sys
from pathlib import Path
from masklab.training.folder_lock import driving
with driving(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def driver(tmp_path: Path, root: Path) -> subprocess.Popen[str]:
    """Another process that drives the run `mine`."""
    folder = tmp_path / "home/runs/mine"
    folder.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(root / "platform")}
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_run_that_another_process_drives_is_refused_by_name_and_free_again_when_that_is_killed(
    tmp_path: Path, driver: subprocess.Popen[str]
) -> None:
    folder = tmp_path / "home/runs/mine"
    with driver:
        for attempt in (lambda: refuse_if_driven(folder), lambda: driving(folder).__enter__()):
            with pytest.raises(RunError, match=rf"run 'mine' is under way: process {driver.pid} on .+ has .+; wait for it to end"):
                attempt()
        driver.send_signal(signal.SIGKILL)
    refuse_if_driven(folder)
    with driving(folder):
        assert (folder / DRIVER).read_text(encoding="utf-8").startswith(f"process {os.getpid()} on ")


def test_the_checks_of_a_second_command_end_with_one_line(tmp_path: Path, root: Path) -> None:
    victim = Victim.in_folder(tmp_path)
    folder = victim.home / "runs/mine"
    command = [*victim.plain_text, "run.name=mine"]
    from masklab.config.compose.composition import compose
    from masklab.config.compose.yaml_io import dump
    from masklab.training.run_folder import RunFolder

    RunFolder(folder).begin(dump(compose(command, victim.root)))
    assert victim.call(command) == ""
    (folder / DRIVER).touch()
    environment = os.environ | {"PYTHONPATH": str(root / "platform")}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert f"run 'mine' is under way: process {holder.pid} on" in victim.call(command)
        holder.kill()
    assert victim.call(command) == ""


@pytest.mark.parametrize("name", [FILE, DRIVER])
def test_a_lock_that_is_a_link_makes_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match="is a link"), alone(folder, 0.0) if name == FILE else driving(folder):
        pass
    assert not elsewhere.exists()
