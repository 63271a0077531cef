"""A user's mistake ends `jobs/train.py` with one clear line and exit status 2, before anything is made."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from jobs_of_tests import job_function

from masklab.config.command_line.main import main

TEXT = "To be, or not to be, that is the question.\n" * 40


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for runs, with a good text beside it."""
    monkeypatch.setenv("MASKLAB_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "good.txt").write_text(TEXT)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text(TEXT[:100])
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 and more" * 30)
    (tmp_path / "file").write_text("")
    return tmp_path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def fail(root: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """Run the job, and return its one line."""
    status = main("train", "", lambda config: job_function(root, "train")(config, overrides), root, overrides)
    out, err = capsys.readouterr()
    assert status == 2
    assert err.startswith("masklab: error: ") and err.count("\n") == 1
    assert "Traceback" not in out + err
    return err


MISTAKES = {
    "empty file": (["dataset.path={}/empty.txt"], "empty.txt"),
    "invalid UTF-8": (["dataset.path={}/latin.txt"], "byte offset 3"),
    "text shorter than a block": (["dataset.path={}/short.txt"], "128"),
    "validation split shorter than a block": (["dataset.validation_fraction=0.05"], "validation"),
    "empty validation split": (["dataset.validation_fraction=0.0001"], "validation"),
    "no such file": (["dataset.path={}/nothing.txt"], "nothing.txt"),
    "unknown key": (["training.max_iter=5"], "max_iters"),
    "unknown curriculum": (["curriculum=stiky"], "sticky"),
    "probability over 1": (["curriculum=sticky", "curriculum.stages.1.mask_ratio=1.4"], "curriculum.stages.1.mask_ratio = 1.4"),
    "probability under 0": (["curriculum=sticky", "curriculum.stages.1.p_start=-0.1"], "p_start"),
    "unreachable sticky target": (["curriculum=sticky", "curriculum.stages.1.p_extend=0", "curriculum.stages.1.mask_ratio=0.9"], "0.9"),
    "no stages": (["curriculum.stages=[]"], "curriculum.stages"),
    "run name with a path": (["run.name=../x"], "run.name"),
    "unwritable run folder": (["run.folder={}/file/runs"], "file"),
    "no tracking server": (["tracking.uri=http://127.0.0.1:{port}"], "tracking server"),
    "unknown tracking scheme": (["tracking.uri=ftp://x"], "tracking.uri"),
    "batch that cannot be split": (["scaling.num_workers=3"], "num_workers"),
    "learning rates the wrong way round": (["training.min_lr=1"], "min_lr"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(mistake: str, home: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides, words = MISTAKES[mistake]
    filled = [o.format(home, port=free_port()) for o in overrides]
    if not any(o.startswith("dataset.path") for o in filled):
        filled.append(f"dataset.path={home}/good.txt")
    line = fail(root, capsys, "dataset=text", "run.name=x", *filled) if mistake != "run name with a path" else fail(root, capsys, *filled)
    assert words in line
    assert not (home / "home" / "runs").exists()
    assert not (home / "home" / "mlflow.db").exists()


@pytest.mark.ray
def test_more_workers_than_the_cluster_has_are_refused_with_the_numbers(
    home: Path, root: Path, capsys: pytest.CaptureFixture[str], ray_cluster: object
) -> None:
    line = fail(root, capsys, "dataset=text", f"dataset.path={home}/good.txt", "scaling.cpus_per_worker=4000")
    assert "needs 4000, but the cluster has" in line
    assert not (home / "home" / "runs").exists()
    assert not (home / "home" / "mlflow.db").exists()
