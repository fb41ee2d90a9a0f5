"""The catalogue in a SQLite file: one machine, nothing to install."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from core.errors import Unavailable
from core.util.private import private_database, private_file, private_folder_if_new
from web_tier.catalog.database_health import Fault
from web_tier.catalog.write_turns import WriterBusy, begin_immediate, turns_at

_BUSY_S = 10.0


class SQLite:
    def __init__(self, url: URL) -> None:
        self._url = url
        self._path = Path(url.database or "")
        self.place = str(self._path)

    def engines(self) -> tuple[Engine, Engine]:
        engine = create_engine(
            self._url,
            hide_parameters=True,  # what people upload, and secrets, have no place in a log
            pool_size=8,
            max_overflow=-1,  # a thread that waits for a connection would hold up its client for nothing
            connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine, engine.execution_options(writes=True)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises Unavailable where it does not come in time."""
        try:
            with turns_at(os.path.realpath(self._path)).turn(_BUSY_S):
                yield
        except WriterBusy as error:
            raise Unavailable(f"catalogue {self.place}: {error}") from error
        except sqlite3.DatabaseError as error:  # of `_begin`, which SQLAlchemy does not translate
            raise Unavailable(f"catalogue {self.place}: {self.advice(error)}") from error

    @contextmanager
    def migrating(self, writers: Engine) -> Iterator[Connection]:
        """Raises Unavailable where the folder cannot be used."""
        try:
            private_folder_if_new(self._path.parent)
            private_database(self._path)  # webhooks' secrets are in it
            private_file(self._path.with_suffix(".lock"))
            lock = self._path.with_suffix(".lock").open("w")
        except OSError as error:
            raise Unavailable(f"catalogue {self._path}: {error.strerror}; is the setting home right?") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.turn(), writers.begin() as connection:
                yield connection

    def check_writable(self, writers: Engine) -> None:
        """It can be read. Whether it can be written would make the check wait for those who write."""
        with writers.connect().execution_options(writes=False) as connection:
            connection.exec_driver_sql("SELECT 1 FROM batches LIMIT 1")

    def advice(self, error: BaseException | None) -> str:
        return _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error))

    def fault(self, error: BaseException | None) -> Fault:
        """A file breaks no connection, so whatever it says is about the statement."""
        read_only = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
        return Fault.READ_ONLY if read_only else Fault.REFUSED


_ADVICE = {
    sqlite3.SQLITE_BUSY: f"it was still locked after {_BUSY_S:.0f} s; is a process stopped, or its disk stuck?",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, what was accepted is kept",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner and permissions, and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder is there and may be written",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check its free space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop tagfleet and restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; stop tagfleet and move it away",
}


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions by its own rules; `_begin` does it by ours
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A transaction that reads first and writes later would fail at once where another one wrote in between."""
    options = connection.get_execution_options()
    if not options.get("writes", False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101  # what `_prepare` was given
    raw.execute(f"PRAGMA synchronous = {'FULL' if options.get('durable', True) else 'NORMAL'}")
    begin_immediate(raw, _BUSY_S)
