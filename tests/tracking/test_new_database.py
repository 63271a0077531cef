"""A store of MLflow's is made whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from masklab.tracking.mlflow_store import make_database

MAKES = """
import sys
from pathlib import Path
from masklab.tracking.mlflow_run import create_run_record, make_run
from masklab.tracking.mlflow_store import Store
make_run(Store(sys.argv[1], Path(sys.argv[2])), create_run_record("e", run_name="r", params={"a": 1}, tags={}))
"""


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def fill(uri: str, table: str = "runs") -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE {table} (id)")
        connection.commit()


def test_the_tables_are_there_and_nothing_else(tmp_path: Path) -> None:
    make_database(tmp_path / "a" / "m.db", fill)
    assert tables(tmp_path / "a" / "m.db") == {"runs"}
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["m.db"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(uri: str) -> None:
        fill(uri)
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        make_database(tmp_path / "m.db", fail)
    assert not list(tmp_path.iterdir())


def test_what_another_process_has_made_meanwhile_stays(tmp_path: Path) -> None:
    def late(uri: str) -> None:
        fill(uri)
        fill(f"sqlite:///{tmp_path / 'm.db'}", "theirs")

    make_database(tmp_path / "m.db", late)
    assert tables(tmp_path / "m.db") == {"theirs"}


def test_a_driver_killed_while_it_makes_the_tables_leaves_no_store_that_cannot_be_used(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKES, f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path)]
    with subprocess.Popen(command) as process:
        while process.poll() is None and not any(file.stat().st_size > 100_000 for file in tmp_path.glob(".mlflow.db.*.tmp")):
            time.sleep(0.005)
        assert process.poll() is None, "it was to be killed in the middle"
        process.kill()
    assert not (tmp_path / "mlflow.db").exists()
    subprocess.run(command, check=True, timeout=200)
    assert {"runs", "spans", "alembic_version"} <= tables(tmp_path / "mlflow.db")
