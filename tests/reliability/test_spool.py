"""The spool of a run: complete lines or none, resumed wherever a process died, sent by one process at a time, and only files of the run."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masklab.io.file_lock import lock
from masklab.tracking.mlflow_run import RunHandle, create_run_record
from masklab.tracking.mlflow_store import Store
from masklab.tracking.mlflow_tracker import MlflowTracker
from masklab.tracking.run_registration import add_records, declare
from masklab.tracking.spool import delivery
from masklab.tracking.spool.delivery import DeferredError, Delivery
from masklab.tracking.spool.record import Artifact, Metrics, Record, StatusChange, Tags, Text
from masklab.tracking.spool.spool import LockOwner, Spool, SpoolWriter, decoded, encoded
from masklab.training.run_folder import RunFolder

RUN = "0" * 32


class Recorder:
    """A client that records its calls, and fails if `fails` returns True for one."""

    def __init__(self, fails: Callable[[str], bool] = lambda what: False) -> None:
        self.told: list[Any] = []
        self.fails = fails

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert len(metrics) <= 1000
        self._tell(*((m.key, m.value, m.timestamp, m.step) for m in metrics), *((p.key, p.value) for p in (*params, *tags)))

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self._tell(name)

    def log_artifact(self, run_id: str, path: str, folder: str | None) -> None:
        self._tell(Path(path).name)

    def log_artifacts(self, run_id: str, path: str, folder: str | None) -> None:
        self._tell(Path(path).name)

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        self._tell((status, end_time))

    def update_run(self, run_id: str, status: str) -> None:
        self._tell(status)

    def _tell(self, *what: Any) -> None:
        if any(self.fails(str(each)) for each in what):
            raise OSError("connection reset\nby peer")
        self.told += what


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(delivery, "client_of", lambda uri: made)
    return made


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "run")


def sent(spool: Spool) -> bool:
    return Delivery(Store("http://host", spool.run)).deliver(spool, RUN)


def metrics(step: int, **values: float) -> Metrics:
    return Metrics(at=1000 + step, step=step, values=values or {"train/loss": step / 7})


values = st.dictionaries(st.text(max_size=8), st.floats(width=64), max_size=4)


@given(values, st.integers(-(2**62), 2**62))
def test_a_record_is_read_as_it_was_written(kept: dict[str, float], step: int) -> None:
    line = encoded(Metrics(at=5, step=step, values=kept))
    assert line.count(b"\n") == 1
    assert repr(decoded(line)) == repr(Metrics(at=5, step=step, values=kept))


def test_a_line_that_has_changed_by_a_byte_or_lacks_its_end_is_known(told: Callable[[str], None]) -> None:
    line = encoded(metrics(3))
    broken = [line[:i] + bytes([line[i] ^ bit]) + line[i + 1 :] for i in range(len(line) - 1) for bit in (1, 0x20, 0x80)]
    broken += [line[:i] + b"\n" for i in range(len(line) - 1)]
    assert not [each for each in broken if decoded(each) is not None]
    told(f"spool: {len(broken)} damaged lines, all known")


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_line_is_an_error(line: bytes) -> None:
    assert decoded(line) is None


class FullDisk:
    """A file on a disk with `room` bytes left."""

    def __init__(self, stream: Any, room: int) -> None:
        self.stream, self.room = stream, room

    def write(self, rest: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.stream.write(rest[: self.room])
        self.room -= taken
        return int(taken)

    def close(self) -> None:
        self.stream.close()


@pytest.mark.parametrize("room", [0, 1, 20, len(encoded(metrics(2))) - 2])
def test_what_a_full_disk_cut_off_is_passed_over_and_nothing_else(spool: Spool, client: Recorder, room: int) -> None:
    writer = SpoolWriter(spool, "worker")
    writer.add(metrics(1))
    stream = writer._stream
    writer._stream = FullDisk(stream, room)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"):
        writer.add(metrics(2))
    writer._stream = stream
    writer.add(metrics(3))
    writer.close()
    assert sent(spool)
    assert [point[3] for point in client.told] == [1, 3]
    assert spool.is_empty


def test_a_full_disk_ends_no_run_and_is_told_once(tmp_path: Path) -> None:
    words: list[str] = []
    tracker = MlflowTracker(RunHandle(None, folder=tmp_path), "worker", report=words.append)
    tracker.log_metrics({"a": 1.0}, 1)
    tracker._writer._stream = FullDisk(tracker._writer._stream, 5)  # type: ignore[assignment]
    tracker.log_metrics({"a": 1.0}, 2)
    tracker.log_metrics({"a": 1.0}, 3)
    tracker.finish("FINISHED")
    assert (tracker.lost, len(words)) == (3, 1) and "No space left" in words[0]


def test_a_line_that_is_still_being_written_is_left_for_later(spool: Spool, client: Recorder) -> None:
    add_records(spool.run, metrics(1), metrics(2))
    (file,) = spool.files()
    whole = file.lines.read_bytes()
    for cut in range(len(encoded(metrics(1))), len(whole)):
        file.lines.write_bytes(whole[:cut])
        assert [entry.record for entry in file.entries()] == [metrics(1)]


def test_a_file_belongs_to_its_process_until_that_is_dead(spool: Spool, client: Recorder) -> None:
    script = "; ".join(
        [
            "import sys; from pathlib import Path",
            "from masklab.tracking.spool.spool import Spool, SpoolWriter",
            "from masklab.tracking.spool.record import Metrics",
            "writer = SpoolWriter(Spool(Path(sys.argv[1])), 'worker')",
            "writer.add(Metrics(at=1, step=1, values={'a': 1}))",
            "print(flush=True); input()",
        ]
    )
    command, platform = [sys.executable, "-c", script, str(spool.run)], Path(delivery.__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=platform) as process:
        assert process.stdout and process.stdout.readline()
        assert not sent(spool), "it sends its records itself"
        assert client.told == []
        process.kill()
        process.wait()
    assert sent(spool)
    assert len(client.told) == 1


def test_a_file_that_is_cleared_away_before_its_first_line_is_made_anew(
    spool: Spool, client: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clear(stream: Any, *, wait: bool = False) -> bool | None:
        monkeypatch.setattr("masklab.tracking.spool.spool.lock", lock)
        assert Delivery(Store("http://host", spool.run)).deliver(spool, RUN, others=LockOwner.NOBODY)
        return lock(stream, wait=wait)

    monkeypatch.setattr("masklab.tracking.spool.spool.lock", clear)
    writer = SpoolWriter(spool, "driver")
    writer.add(Tags(at=1, values={"a": "b"}))
    assert [record for file in spool.files() for record in file.records()] == [Tags(at=1, values={"a": "b"})]
    writer.close()


def test_what_cannot_be_sent_lets_the_rest_through_and_is_tried_again(spool: Spool, client: Recorder) -> None:
    text = [Text(at=1, name=name, text="") for name in ("bad", "good")]
    add_records(spool.run, text[0], metrics(1), text[1], StatusChange(at=9, status="FINISHED"))
    client.fails = lambda what: what == "bad"
    for _ in range(3):
        with pytest.raises(DeferredError, match="connection reset"):
            sent(spool)
    assert client.told == [("train/loss", 1 / 7, 1001, 1), "good", ("FINISHED", 9)]
    assert spool.pending() == (0, 1)
    client.fails = lambda what: False
    assert sent(spool)
    assert client.told[3:] == ["bad"]


def test_tags_and_statuses_keep_their_order(spool: Spool, client: Recorder) -> None:
    records: list[Record] = [StatusChange(at=1, status="KILLED"), StatusChange(at=2, status="RUNNING"), Tags(at=3, values={"a": "b"})]
    add_records(spool.run, *records, StatusChange(at=4, status="FINISHED"))
    for refused in ("KILLED", "RUNNING", "b"):
        client.fails = lambda what, refused=refused: refused in what  # type: ignore[misc]
        with pytest.raises(OSError, match="reset"):
            sent(spool)
    client.fails = lambda what: False
    assert sent(spool)
    assert client.told == [("KILLED", 1), "RUNNING", ("a", "b"), ("FINISHED", 4)]


def test_a_status_that_comes_late_takes_no_later_one_back(spool: Spool, client: Recorder) -> None:
    add_records(spool.run, StatusChange(at=1, status="RUNNING"))
    add_records(spool.run, StatusChange(at=2, status="KILLED"))
    with spool.files()[0].locked(LockOwner.ANYONE) as is_free:
        assert is_free and not sent(spool), "another process is about to send the first"
    assert client.told == [("KILLED", 2)]
    assert sent(spool)
    assert client.told == [("KILLED", 2)]
    assert spool.is_empty


def test_the_file_with_the_committed_offset_keeps_its_names(spool: Spool, client: Recorder) -> None:
    add_records(spool.run, metrics(1), Text(at=1, name="bad", text=""))
    client.fails = lambda what: what == "bad"
    with pytest.raises(DeferredError):
        sent(spool)
    (file,) = spool.files()
    first, second = file.entries()
    assert json.loads(file.sent.read_text()) == {"end": second.end, "behind": [first.end], "figures": 1, "steps": {"train/loss": 1}}
    assert b'"kind":"figures"' in file.lines.read_bytes()


def test_only_files_of_the_run_are_sent(spool: Spool, client: Recorder, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (spool.run / "folder").mkdir(parents=True)
    (spool.run / "ours").write_text("ours")
    (spool.run / "link").symlink_to(tmp_path / "secret")
    (spool.run / "folder" / "link").symlink_to(tmp_path / "secret")
    for path in ("../secret", str(tmp_path / "secret"), "link", "folder", "missing", "ours"):
        add_records(spool.run, Artifact(at=1, path=path))
    assert sent(spool)
    assert client.told == ["ours"]
    assert sum(file.state().gone for file in spool.files()) == 5
    with pytest.raises(ValueError, match="secret"):
        MlflowTracker(RunHandle(None, folder=spool.run), "worker").log_artifact(tmp_path / "secret")


def test_passwords_do_not_come_into_the_spool(tmp_path: Path) -> None:
    store = Store("http://me:pa55word@127.0.0.1:9", tmp_path)
    folder = RunFolder(tmp_path / "run")
    folder.begin("a: 1\n")
    declare(folder, create_run_record("e", run_name="r", params={"uri": store.uri}, tags={"t": store.uri}, description=store.uri))
    tracker = MlflowTracker(RunHandle(store, folder.path, RUN), "worker", report=lambda words: None)
    tracker.log_text(store.uri, "a.txt")
    tracker.describe(store.uri)
    tracker.finish("FINISHED", seconds=0)
    kept = b"".join(path.read_bytes() for path in folder.path.rglob("*") if path.is_file())
    assert b"pa55word" not in kept and kept.count(b"http://") == 5


def test_a_spool_that_lies_elsewhere_is_neither_written_nor_read(spool: Spool, client: Recorder, tmp_path: Path) -> None:
    elsewhere = Spool(tmp_path / "elsewhere")
    add_records(elsewhere.run, metrics(1))
    spool.run.mkdir()
    spool.folder.symlink_to(elsewhere.folder)
    before = {path: path.read_bytes() for path in elsewhere.folder.iterdir()}
    with pytest.raises(NotADirectoryError):
        add_records(spool.run, metrics(2))
    assert sent(spool) and client.told == []
    assert {path: path.read_bytes() for path in elsewhere.folder.iterdir()} == before
