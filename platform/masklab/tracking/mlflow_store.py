"""The MLflow store: its URI, whether it can be reached, how to browse it, and a new SQLite database."""

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
    """An MLflow store by its absolute URI. `folder` contains the artifacts of a SQLite store."""

    uri: str
    folder: Path

    @classmethod
    def of(cls, settings: StoreSettings, folder: Path) -> Store:
        """The store at `tracking.uri`, else at MLFLOW_TRACKING_URI, else `mlflow.db` in `folder`.

        A SQLite path becomes absolute, because workers have other working directories. Raises TrackingError for an unusable URI.
        """
        folder = folder.resolve()
        uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{folder / 'mlflow.db'}"
        known = os.environ.get("MLFLOW_TRACKING_URI", "")
        if is_redacted(uri) and redact(known) == uri:
            uri = known
        if is_redacted(uri):
            raise TrackingError(
                f"tracking.uri = {redact(uri)!r}: the password is missing, because run folders contain none; give tracking.uri= in full, "
                "or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD and give the address without them"
            )
        scheme = _scheme(uri)
        if scheme not in SCHEMES:
            raise TrackingError(
                f"tracking.uri = {redact(uri)!r}: not an MLflow store{did_you_mean(scheme, SCHEMES)}; "
                "use sqlite:////absolute/path/mlflow.db or the http(s) address of a server"
            )
        if scheme == "sqlite":
            if not uri.startswith(_SQLITE) or uri == _SQLITE:
                raise TrackingError(f"tracking.uri = {uri!r}: the file name is missing; use sqlite:////absolute/path/mlflow.db")
            uri = f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
        return cls(uri, folder)

    @property
    def is_local(self) -> bool:
        return self.uri.startswith(_SQLITE)

    @property
    def database(self) -> Path:
        assert self.is_local
        return Path(self.uri.removeprefix(_SQLITE))

    @property
    def artifact_location(self) -> str | None:
        """The absolute folder of a new experiment's artifacts; None lets the server choose."""
        return str(self.folder / "mlruns") if self.is_local else None

    def check(self, seconds: float = 3.0) -> None:
        """Raise TrackingError, in one line, if the store cannot be used. `seconds` limits the connection to a server."""
        if self.is_local:
            _check_sqlite(self.database)
        else:
            _check_address(urlsplit(self.uri), redact(self.uri), seconds)

    def browse(self, experiment_id: str | None = None, run_id: str | None = None) -> str:
        """The command that opens the MLflow UI on this store, or the run's address on its server."""
        if self.is_local and self.database == self.folder / "mlflow.db":
            return "make ui" if (self.folder / "Makefile").exists() else f"MASKLAB_HOME={shlex.quote(str(self.folder))} make ui"
        if _scheme(self.uri) not in SERVERS:
            return f"mlflow ui --backend-store-uri {shlex.quote(redact(self.uri))}"
        page = f"/#/experiments/{experiment_id}/runs/{run_id}" if experiment_id and run_id else ""
        return redact(self.uri).rstrip("/") + page


def _scheme(uri: str) -> str:
    """`postgresql` for `postgresql+psycopg2://...`; empty for a path."""
    return uri.partition("://")[0].partition("+")[0].lower() if "://" in uri else ""


def _check_sqlite(path: Path) -> None:
    try:
        if not path.exists():  # a check must not create the database
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
        raise TrackingError(f"tracking.uri = {shown!r}: the host is missing; use e.g. http://localhost:5000")
    try:
        port = address.port or (SERVERS | DATABASES)[scheme]
    except ValueError as error:
        raise TrackingError(f"tracking.uri = {shown!r}: the port is not a number from 0 to 65535") from error
    if scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(address.hostname):
        return  # a direct connection says nothing about a server behind a proxy
    try:
        socket.create_connection((address.hostname, port), timeout=seconds).close()
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise TrackingError(
            f"no tracking server at {shown} ({address.hostname}:{port}: {reason}); "
            "start it, correct tracking.uri, or set tracking.offline=true and send later with make sync"
        ) from error


def make_database(path: Path, fill: Callable[[str], object]) -> None:
    """Create a SQLite database at `path`, complete or not at all, unless another process does so meanwhile.

    `fill` creates the tables at the temporary URI that it is given. Raises OSError, and the errors of `fill`.
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
