"""The catalogue's database: connections, transactions, migrations. The only place that knows it is SQLite."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from config.settings import Settings
from core.errors import TagfleetError, Unavailable

_BUSY_S = 10.0
_MIGRATIONS = Path(__file__).with_name("migrations")


def catalog_path(settings: Settings) -> Path:
    return settings.home / "catalog.db"


class Database:
    """Connections to one catalogue, for many threads; made after a fork, and only where `migrate` has run.

    A block of `reading` sees one state of the database throughout. A block of `writing` is one transaction, which is
    on the disk when the block ends and is rolled back when it raises. Both raise Unavailable where the database
    is locked, full or unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers = _engine(path)
        self._writers = self._readers.execution_options(writes=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._explained(), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._explained(), self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        self._readers.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise _unavailable(self._path, error.orig) from error


def migrate(path: Path) -> None:
    """Bring the catalogue at `path` to this version's shape, making it if need be; processes take turns.

    Raises Unavailable where it cannot be opened, TagfleetError where a newer version wrote it.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            engine = _engine(path)
            try:
                with engine.execution_options(writes=True).begin() as connection:
                    config.attributes["connection"] = connection
                    command.upgrade(config, "head")
            finally:
                engine.dispose()
    except OSError as error:
        raise Unavailable(f"catalogue {path}: {error.strerror}; is the setting home right?") from error
    except DBAPIError as error:
        raise _unavailable(path, error.orig) from error
    except CommandError as error:
        raise TagfleetError(f"catalogue {path}: a newer version of Tagfleet wrote it; run that one ({error})") from None


def _unavailable(path: Path, error: BaseException | None) -> Unavailable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return Unavailable(f"catalogue {path}: {_ADVICE.get(code, str(error))}")


_ADVICE = {
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {_BUSY_S:.0f} s; is one stopped, or its disk stuck?",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, what was accepted is kept",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner and permissions, and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder is there and may be written",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check its free space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop tagfleet and restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; stop tagfleet and move it away",
}


def _engine(path: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=8,
        max_overflow=-1,  # a thread that waits for a connection would hold up its client for nothing
        connect_args={"timeout": _BUSY_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


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
