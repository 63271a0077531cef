"""The MLflow store that a run is kept in: its URI, whether it can be reached, and how a person browses it."""

from __future__ import annotations

import os
import shlex
import socket
import sqlite3
import tempfile
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from masklab.config.jobs.tracking import StoreSettings
from masklab.errors import TrackingError, did_you_mean
from masklab.io.redaction import is_redacted, redact

SERVERS = {"http": 80, "https": 443}
DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
SCHEMES = ("sqlite", *SERVERS, *DATABASES)
_SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Store:
    """An MLflow store by its absolute URI. `folder` holds the artifacts of a SQLite store."""

    uri: str
    folder: Path

    @classmethod
    def of(cls, settings: StoreSettings, folder: Path) -> Store:
        """The store by `tracking.uri`, else MLFLOW_TRACKING_URI, else `mlflow.db` in `folder`. A SQLite path becomes absolute,
        since workers run in directories of their own.

        Raises TrackingError when the URI has a scheme that MLflow cannot use here.
        """
        folder = folder.resolve()
        uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{folder / 'mlflow.db'}"
        known = os.environ.get("MLFLOW_TRACKING_URI", "")
        if is_redacted(uri) and redact(known) == uri:
            uri = known
        if is_redacted(uri):
            raise TrackingError(
                f"tracking.uri is {redact(uri)!r}, as the run's own files have it, which keep no password; give it again as tracking.uri=, "
                "or give user and password as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD beside the plain address"
            )
        scheme = _scheme(uri)
        if scheme not in SCHEMES:
            raise TrackingError(
                f"tracking.uri is {redact(uri)!r}, which is no MLflow store{did_you_mean(scheme, SCHEMES)}; "
                f"use sqlite:////absolute/path/mlflow.db or the http(s) address of a server"
            )
        if scheme == "sqlite":
            if not uri.startswith(_SQLITE) or uri == _SQLITE:
                raise TrackingError(f"tracking.uri is {uri!r}, which names no file; write sqlite:////absolute/path/mlflow.db")
            uri = f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
        return cls(uri, folder)

    @property
    def is_local(self) -> bool:
        """Whether the store is a SQLite file."""
        return self.uri.startswith(_SQLITE)

    @property
    def database(self) -> Path:
        """The file of a SQLite store."""
        assert self.is_local
        return Path(self.uri.removeprefix(_SQLITE))

    @property
    def artifact_location(self) -> str | None:
        """Absolute folder of a new experiment's artifacts; None leaves the choice to the server."""
        return str(self.folder / "mlruns") if self.is_local else None

    def check(self, seconds: float = 3.0) -> None:
        """Find out quickly whether the store can be used at all. Raises TrackingError, in one line, when it cannot."""
        if self.is_local:
            _check_sqlite(self.database)
        else:
            _check_address(urlsplit(self.uri), redact(self.uri), seconds)

    def browse(self, experiment_id: str | None = None, run_id: str | None = None) -> str:
        """The command that opens the MLflow UI on this store, or the address of the run on its server."""
        if self.is_local and self.database == self.folder / "mlflow.db":
            return "make ui" if (self.folder / "Makefile").exists() else f"MASKLAB_HOME={shlex.quote(str(self.folder))} make ui"
        if _scheme(self.uri) not in SERVERS:
            return f"mlflow ui --backend-store-uri {shlex.quote(redact(self.uri))}"
        page = f"/#/experiments/{experiment_id}/runs/{run_id}" if experiment_id and run_id else ""
        return redact(self.uri).rstrip("/") + page


def _scheme(uri: str) -> str:
    """`postgresql` of `postgresql+psycopg2://...`; empty for a plain path."""
    return uri.partition("://")[0].partition("+")[0].lower() if "://" in uri else ""


def _check_sqlite(path: Path) -> None:
    try:
        if not path.exists():  # a look must leave nothing behind
            here = next(parent for parent in path.parents if parent.exists())
            with tempfile.TemporaryFile(dir=here):
                return
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"tracking store {path} cannot be used ({error}); "
            "set tracking.uri=sqlite:////writable/path/mlflow.db, or tracking.enabled=false"
        ) from error


def _check_address(address: SplitResult, shown: str, seconds: float) -> None:
    scheme = _scheme(address.geturl())
    if not address.hostname:
        raise TrackingError(f"tracking.uri is {shown!r}, which names no host; write e.g. http://localhost:5000")
    try:
        port = address.port or (SERVERS | DATABASES)[scheme]
    except ValueError as error:
        raise TrackingError(f"tracking.uri is {shown!r}, whose port is no number from 0 to 65535") from error
    if scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(address.hostname):
        return  # a direct connection says nothing about a server behind a proxy
    try:
        socket.create_connection((address.hostname, port), timeout=seconds).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise TrackingError(
            f"no tracking server at {shown} ({address.hostname}:{port}: {reason}); "
            "start it, correct tracking.uri, or set tracking.offline=true and send later by make sync"
        ) from error


def make_database(path: Path, fill: Callable[[str], object]) -> None:
    """Let `fill` make the tables of the store at a URI of its own, and then put the file at `path`, unless one has come there meanwhile.

    Raises OSError where the folder cannot be written, and whatever `fill` raises; then nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        fill(f"sqlite:///{temporary}")
        with closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(FileExistsError):  # another driver was first
            os.link(temporary, path)
    finally:
        for file in (temporary, *(temporary.with_name(temporary.name + ending) for ending in ("-wal", "-shm", "-journal"))):
            file.unlink(missing_ok=True)
