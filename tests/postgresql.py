"""Run Debian's PostgreSQL for the tests, on a socket in a temporary folder, alone or with a standby."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, NullPool, create_engine
from sqlalchemy.exc import OperationalError

_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_INITDB = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
_PATIENCE_S = 120


class Server:
    """A running server, which makes a database for each test."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self._names = (f"test{number}" for number in count(1))
        self._admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")

    def url(self, database: str) -> URL:
        """Return SQLAlchemy's URL of a database of this server."""
        return URL.create("postgresql+psycopg", "postgres", database=database, query={"host": str(self.folder)})

    def run(self, *command: str) -> None:
        """Run one of PostgreSQL's programs, as another user if this one is root: they refuse to run as root."""
        done = subprocess.run(
            [self.programs / command[0], *command[1:]],
            user=_unprivileged(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def database(self, like: str = "template1") -> Iterator[URL]:
        """Yield the URL of a copy of the database `like`; drop it when the block ends."""
        name = next(self._names)
        self._insist(f'CREATE DATABASE {name} TEMPLATE "{like}"')
        yield self.url(name)
        self._insist(f"DROP DATABASE {name} WITH (FORCE)")

    def say(self, statement: str) -> None:
        """Execute a statement as the administrator, outside a transaction."""
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def _insist(self, statement: str) -> None:
        """Retry a statement: the server waits only five seconds until others have left a database."""
        for _ in range(_PATIENCE_S // 5):
            with suppress(OperationalError):
                self.say(statement)
                return
        self.say(statement)

    def close(self) -> None:
        """Close the administrator's connections; the server stays."""
        self._admin.dispose()


@contextmanager
def running(environ: Mapping[str, str]) -> Iterator[Server]:
    """Run a server for the block. Without Debian's PostgreSQL the test is skipped, or fails in CI."""
    with _folder(environ) as (folder, programs):
        server = Server(folder, programs)
        server.run("initdb", "-D", str(folder / "data"), *_INITDB)
        with _started(server, folder / "data", "-h ''", *(f"-c {setting}" for setting in _NOT_DURABLE)):
            yield server
            server.close()


class Node:
    """One of the two servers of `replicated`. `port` is on loopback; `name` is the name of its folder."""

    def __init__(self, server: Server, name: str, port: int) -> None:
        self._server = server
        self.port = port
        self.data = server.folder / name
        self.reads = create_engine(
            URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=port, database="postgres"),
            isolation_level="AUTOCOMMIT",
            poolclass=NullPool,
        )

    def say(self, statement: str) -> None:
        """Execute a statement on this server, outside a transaction."""
        with self.reads.connect() as connection:
            connection.exec_driver_sql(statement)

    def ask(self, query: str) -> Any:
        """Return the single value of a query on this server."""
        with self.reads.connect() as connection:
            return connection.exec_driver_sql(query).scalar_one()

    def promote(self) -> None:
        """Make the standby a primary."""
        self._server.run("pg_ctl", "-D", str(self.data), "-w", "-t", str(_PATIENCE_S), "promote")

    def demote(self) -> None:
        """Make the primary a standby, which stays alive and answers readers even if it cannot follow another server."""
        signal = self.data / "standby.signal"
        signal.touch()
        if (user := _unprivileged()) is not None:
            shutil.chown(signal, user)
        self._server.run("pg_ctl", "-D", str(self.data), "-w", "-t", str(_PATIENCE_S), "-m", "fast", "restart")


@contextmanager
def replicated(environ: Mapping[str, str]) -> Iterator[tuple[Node, Node]]:
    """Run a primary whose commits wait for its standby; yield both, each on its own port."""
    with _folder(environ) as (folder, programs):
        server = Server(folder, programs)
        primary, standby = (Node(server, name, _free_port()) for name in ("primary", "standby"))
        server.run("initdb", "-D", str(primary.data), *_INITDB)
        common = [f"-c {setting}" for setting in _NOT_DURABLE[:1]]
        waits = "-c synchronous_standby_names=*"
        with ExitStack() as stack:
            stack.enter_context(_started(server, primary.data, f"-h 127.0.0.1 -p {primary.port}", waits, *common))
            address = f"host=127.0.0.1 port={primary.port} user=postgres"
            server.run("pg_basebackup", "-D", str(standby.data), "-d", address, "-R", "-X", "stream", "-c", "fast")
            alone = "-c synchronous_standby_names="
            stack.enter_context(_started(server, standby.data, f"-h 127.0.0.1 -p {standby.port}", alone, *common))
            yield primary, standby
            server.close()


@contextmanager
def _folder(environ: Mapping[str, str]) -> Iterator[tuple[Path, Path]]:
    """Yield a temporary folder for servers and the folder of PostgreSQL's programs."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
    if programs is None:
        assert environ.get("CI") != "true", "no PostgreSQL in /usr/lib/postgresql: .ci/run installs it"
        pytest.skip("no PostgreSQL (Debian's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="tagfleet-postgresql-"))  # other users cannot enter pytest's folders
    if (user := _unprivileged()) is not None:
        shutil.chown(folder, user)
    try:
        yield folder, programs
    finally:
        shutil.rmtree(folder)


@contextmanager
def _started(server: Server, data: Path, *options: str) -> Iterator[None]:
    log = str(data.with_suffix(".log"))
    words = " ".join((f"-k {server.folder}", *options))
    server.run("pg_ctl", "-D", str(data), "-w", "-t", str(_PATIENCE_S), "-l", log, "-o", words, "start")
    with _ending_with_us(server.programs / "pg_ctl", str(data)):
        yield


@contextmanager
def _ending_with_us(pg_ctl: Path, data: str) -> Iterator[None]:
    """Stop the server when the block ends, or when this process is killed and a pipe closes."""
    script = 'cat; exec "$1" -D "$2" -w -m immediate stop'
    ender = subprocess.Popen(
        ["sh", "-c", script, "sh", pg_ctl, data],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        user=_unprivileged(),
        cwd=data,
        start_new_session=True,
    )
    try:
        yield
    finally:
        ender.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _unprivileged() -> str | None:
    """Return the user who runs the server; None for this user."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
