"""Tiny Shakespeare is fetched once and verified, or read from a file that must be the same. A small stand-in takes its place."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from masklab.errors import DataError
from masklab.text.sources import shakespeare_char as module
from masklab.text.sources.shakespeare_char import ShakespeareChar

PLAY = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
KEPT = "tinyshakespeare.txt"


class Host:
    """A web server on this machine: what it answers, and how often it was asked."""

    def __init__(self) -> None:
        self.status, self.content, self.asked = 200, PLAY, 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked += 1
                self.send_response(host.status)
                self.send_header("Content-Length", str(len(host.content)))
                self.end_headers()
                self.wfile.write(host.content)

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/input.txt"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    host = Host()
    thread = threading.Thread(target=host.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "URL", host.url)
    monkeypatch.setattr(module, "SIZE", len(PLAY))
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(PLAY).hexdigest())
    yield host
    host.server.shutdown()
    host.server.server_close()
    thread.join()


def refusal(folder: Path, path: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        ShakespeareChar(path=None if path is None else str(path)).text(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_real_text_is_named_by_its_published_checksum() -> None:
    assert module.SHA256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert module.SIZE == 1_115_394
    assert module.URL.startswith("https://raw.githubusercontent.com/karpathy/char-rnn/")


def test_the_text_is_downloaded_once(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert [ShakespeareChar().text(folder) for _ in range(2)] == [PLAY.decode()] * 2
    assert host.asked == 1
    assert [file.name for file in folder.iterdir()] == [KEPT]


def test_a_damaged_download_is_fetched_again(host: Host, tmp_path: Path) -> None:
    (tmp_path / KEPT).write_bytes(PLAY[:-1])
    assert ShakespeareChar().text(tmp_path) == PLAY.decode()
    assert (tmp_path / KEPT).read_bytes() == PLAY


@pytest.mark.parametrize("content", [PLAY[:-1], PLAY + b"!", PLAY.replace(b"F", b"f"), b""])
def test_a_download_with_another_checksum_is_refused_and_not_kept(host: Host, tmp_path: Path, content: bytes) -> None:
    host.content = content
    message = refusal(tmp_path)
    assert message.startswith(f"{host.url}: ")
    assert "wrong checksum" in message
    assert "dataset.path=FILE" in message
    assert not list(tmp_path.iterdir())


def test_a_refused_download_tells_why_and_the_way_around(host: Host, tmp_path: Path) -> None:
    host.status = 404
    message = refusal(tmp_path)
    assert message.startswith(f"{host.url}: cannot be downloaded (")
    assert "Not Found" in message
    assert "dataset.path=FILE" in message
    assert not list(tmp_path.iterdir())


def test_a_host_out_of_reach_tells_the_way_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(_url: str, timeout: float) -> None:
        assert 0 < timeout <= 60
        raise TimeoutError("timed out")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    assert "cannot be downloaded (timed out); give a copy of the file with dataset.path=FILE" in refusal(tmp_path)


def test_a_given_file_needs_no_network(host: Host, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_bytes(PLAY)
    assert ShakespeareChar(path=str(tmp_path / "input.txt")).text(tmp_path) == PLAY.decode()
    assert host.asked == 0


def test_a_given_file_with_another_checksum_is_refused_with_the_source_to_use(host: Host, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(b"my own text")
    message = refusal(tmp_path, tmp_path / "mine.txt")
    assert "not tiny Shakespeare (11 bytes" in message
    assert "source: text" in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path, tmp_path / "nothing")
    assert "is a folder" in refusal(tmp_path, tmp_path)


def test_state_follows_the_file_or_the_checksum(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "input.txt"
    file.write_bytes(PLAY)
    before = ShakespeareChar(path=str(file)).state()
    assert ShakespeareChar(path=str(file)).state() == before
    file.write_bytes(PLAY + b"more")
    assert ShakespeareChar(path=str(file)).state() != before
    assert ShakespeareChar().state() == module.SHA256
