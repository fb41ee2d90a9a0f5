"""The catalogue in a SQLite file: one machine, nothing to install."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from core.errors import Unavailable
from core.local.private import private_database, private_file, private_folder_if_new

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
            with writers.begin() as connection:
                yield connection

    def advice(self, error: BaseException | None) -> str:
        return _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error))


_ADVICE = {
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {_BUSY_S:.0f} s; is one stopped, or its disk stuck?",
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
    # A transaction that reads first and writes later would fail at once where another one wrote in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
