"""Sets of files beside each other, none of which takes the place of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from masklab.errors import RunError
from masklab.inference.job import numbered_folder


def made(parent: Path) -> Path:
    with numbered_folder(parent) as folder:
        (folder / "file").touch()
    return folder


def test_folders_are_numbered_after_the_last_one_whatever_else_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "041").mkdir()
    assert [made(tmp_path).name for _ in range(2)] == ["042", "043"]


def test_two_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: made(tmp_path).name, range(24)))
    assert sorted(names) == [f"{n:03d}" for n in range(1, 25)]


def test_one_that_stays_empty_is_taken_away_and_one_with_files_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), numbered_folder(tmp_path / "some"):
        raise KeyboardInterrupt
    assert not list((tmp_path / "some").iterdir())
    with pytest.raises(KeyboardInterrupt), numbered_folder(tmp_path / "some") as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert (tmp_path / "some/001/file").exists()


def test_a_place_that_is_no_folder_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="give another with output=FOLDER"), numbered_folder(tmp_path / "file"):
        pass
