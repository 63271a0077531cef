"""A real MLflow server on a loopback port, and a proxy before it that fails in the ways that servers do."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

OUTAGES = ("refuses", "hangs", "is slow", "answers 500", "dies before it answers")
SLOW_SECONDS = 0.4


@contextmanager
def mlflow_server(folder: Path) -> Iterator[int]:
    """The port of a server on a SQLite store in `folder`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("w") as log:
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while not _answers(port):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
            yield port
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default")  # which makes it load what it needs
        return connection.getresponse().status == 200
    except OSError:
        return False


class Proxy:
    """Passes requests on to a server, and fails as `outage` says, one of OUTAGES. `passed` counts the requests that the server has had.

    `failed` counts those that were answered with 500.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream, self.outage, self.passed = upstream, "", 0
        self.failed = 0
        self.released = threading.Event()
        self._server = self._listening(0)
        self.port = int(self._server.server_port)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, outage: str) -> None:
        """Fail from now on."""
        assert outage in OUTAGES
        self.released.clear()
        self.outage = outage
        if outage == "refuses":
            self._stop()

    def recover(self) -> None:
        """Pass all requests on again; those that hang are dropped."""
        refused = self.outage == "refuses"
        self.outage = ""
        self.released.set()
        if refused:
            self._server = self._listening(self.port)

    def close(self) -> None:
        if self.outage != "refuses":
            self._stop()
        self.released.set()

    def _stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _listening(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_request(self) -> None:
                proxy.answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request, or do not."""
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        outage = self.outage
        if outage == "hangs":
            self.released.wait(60)
            return
        if outage == "answers 500":
            self.failed += 1
            handler.send_error(500)
            return
        if outage == "is slow":
            self.released.wait(SLOW_SECONDS)
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=60)
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(handler.command, handler.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        self.passed += 1
        if outage == "dies before it answers":
            return
        handler.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
