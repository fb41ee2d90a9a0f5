"""A real PostgreSQL server for the tests: Debian's, on a socket in a folder of its own, ended with them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import OperationalError

_NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_PATIENCE_S = 120


class Server:
    """Makes databases for single tests, as copies of one that was made before."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._names = (f"test{number}" for number in count(1))
        self._admin = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")

    def url(self, database: str) -> URL:
        return URL.create("postgresql+psycopg", "postgres", database=database, query={"host": str(self.folder)})

    def run(self, *command: str) -> None:
        """One of PostgreSQL's programs, as a user who is not root: they refuse to run as root."""
        done = subprocess.run(
            [self._programs / command[0], *command[1:]],
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
        name = next(self._names)
        self._insist(f'CREATE DATABASE {name} TEMPLATE "{like}"')
        yield self.url(name)
        self._insist(f"DROP DATABASE {name} WITH (FORCE)")

    def say(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.exec_driver_sql(statement)

    def _insist(self, statement: str) -> None:
        """The server waits five seconds for others to leave the database, and a busy machine takes longer."""
        for _ in range(_PATIENCE_S // 5):
            with suppress(OperationalError):
                self.say(statement)
                return
        self.say(statement)

    def close(self) -> None:
        self._admin.dispose()


@contextmanager
def running(environ: Mapping[str, str]) -> Iterator[Server]:
    """Skips the test where Debian's PostgreSQL is not installed, but in CI that is a failure."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
    if programs is None:
        assert environ.get("CI") != "true", "no PostgreSQL in /usr/lib/postgresql: .ci/run installs it"
        pytest.skip("no PostgreSQL (Debian's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="tagfleet-postgresql-"))  # pytest's own folders are closed to other users
    if (user := _unprivileged()) is not None:
        shutil.chown(folder, user)
    server = Server(folder, programs)
    data = str(folder / "data")
    try:
        server.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = " ".join(("-h ''", f"-k {folder}", *(f"-c {setting}" for setting in _NOT_DURABLE)))
        server.run(
            "pg_ctl", "-D", data, "-w", "-t", str(_PATIENCE_S), "-l", str(folder / "log"), "-o", options, "start"
        )
        with _ending_with_us(programs / "pg_ctl", data):
            yield server
            server.close()
    finally:
        shutil.rmtree(folder)


@contextmanager
def _ending_with_us(pg_ctl: Path, data: str) -> Iterator[None]:
    """The server ends with this block, and also when this process is killed: a pipe of ours closes then."""
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


def _unprivileged() -> str | None:
    """Who runs the server; None for ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"
