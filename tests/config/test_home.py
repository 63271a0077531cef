"""Where a job keeps what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from masklab.config.home import home_of


def test_the_project_keeps_its_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKLAB_HOME", raising=False)
    assert home_of(tmp_path) == tmp_path


def test_a_chosen_folder_wins_and_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKLAB_HOME", "elsewhere")
    assert home_of(Path("/project")) == tmp_path / "elsewhere"


def test_runs_of_a_submitted_copy_outlive_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("MASKLAB_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    copy = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1")
    assert home_of(copy) == Path("/home/someone/masklab")
    assert "MASKLAB_HOME" in capsys.readouterr().out
