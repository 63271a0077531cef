"""Locks on open files: alone, shared, and given up with the file."""

from __future__ import annotations

from pathlib import Path

from masklab.io.file_lock import lock


def test_a_lock_excludes_others_until_its_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("a+") as second:
        with (tmp_path / "lock").open("a+") as first:
            assert lock(first) is True
            assert lock(second) is False and lock(second, shared=True) is False
        assert lock(second) is True


def test_shared_locks_go_together_and_keep_out_an_exclusive_one(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("a+") as first, (tmp_path / "lock").open("a+") as second, (tmp_path / "lock").open("a+") as third:
        assert lock(first, shared=True) is True and lock(second, shared=True) is True
        assert lock(third) is False
