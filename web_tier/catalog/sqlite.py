"""The catalogue in a SQLite file: one machine, nothing to install.

SQLite lets one transaction write at a time and keeps no queue. A writer that finds the file locked sleeps and tries
again, longer each time; of many writers, some wait for ever while others come and go. Therefore:

1. The threads of one process queue for their turn to write (`WriteTurns`). Only the first in the queue asks SQLite.
2. It asks SQLite again after a millisecond or two, at random, so that two processes take turns by chance.
3. Threads that add images share transactions (`core.util.group_commit`).
4. A writer of many rows pauses between its transactions, for as long as each of them took (`web_tier.catalog.pace`).
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext

from core.errors import Unavailable
from core.util.private import private_database, private_file, private_folder_if_new
from web_tier.catalog.access import Access
from web_tier.catalog.database_health import Fault
from web_tier.catalog.move_mark import CatalogMoved

_BUSY_S = 10.0
"""How long a transaction waits for its turn, and then for other processes."""
_PAUSE_S = (0.0005, 0.002)
_ASK_EVERY_S = 0.1
_UPKEEP_TRIES = 10


class WriterBusy(Exception):
    """The turn did not come in time. The text says who held it, and what to do."""


class WriteTurns:
    """The turns of this process to write one file. Safe for several threads. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        self._taken_at: float | None = None

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """Hold the turn for this block. Raises WriterBusy if it does not come within `patience_s` seconds."""
        self._take(patience_s)
        try:
            yield
        finally:
            self._pass_on()

    @property
    def waiting(self) -> int:
        """How many threads wait for their turn."""
        with self._lock:
            return len(self._queue)

    def _take(self, patience_s: float) -> None:
        mine = threading.Event()
        with self._lock:
            if self._taken_at is None:
                self._taken_at = self._clock()
                return
            self._queue.append(mine)
        if mine.wait(patience_s):
            return
        with self._lock:
            if mine.is_set():
                return  # the turn came just now
            ahead = self._queue.index(mine)
            self._queue.remove(mine)
            since = self._clock() - (self._taken_at or 0.0)
        raise WriterBusy(_explain(since, ahead, patience_s))

    def _pass_on(self) -> None:
        with self._lock:
            if self._queue:
                self._taken_at = self._clock()
                self._queue.popleft().set()
            else:
                self._taken_at = None


def _explain(since: float, ahead: int, patience_s: float) -> str:
    if since >= patience_s / 2:
        return (
            f"a change that this server began {since:.0f} s ago is still being written; is the disk stuck or very slow?"
        )
    return (
        f"{ahead + 1} other changes of this server were still ahead after {patience_s:.0f} s;"
        " send fewer requests at a time, and try again in a moment"
    )


_known: dict[tuple[int, str], WriteTurns] = {}
_knowing = threading.Lock()


def turns_at(path: str) -> WriteTurns:
    """Return the turns of this process at the file `path`, always the same object."""
    with _knowing:
        return _known.setdefault((os.getpid(), path), WriteTurns())


@contextmanager
def upkeep(path: Path, reason: str) -> Iterator[None]:
    """Tell writers of the file why this block keeps it locked, so that they give up at once.

    Raises Unavailable, with its reason, if another process is in such a block.
    """
    beside = _upkeep_file(path)
    private_file(beside)
    with beside.open("r+") as lock:
        for tries_left in reversed(range(_UPKEEP_TRIES)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not tries_left:
                    raise Unavailable(f"catalogue {path}: {lock.read()}") from None
            time.sleep(_ASK_EVERY_S)  # a writer that asks for the reason holds it for a moment
        lock.truncate()
        lock.write(reason)
        lock.flush()
        yield


def upkeep_reason(path: Path) -> str:
    """Return the reason that a process gave to `upkeep` and that holds now; empty if there is none."""
    try:
        with _upkeep_file(path).open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read()
    except OSError:
        pass  # no upkeep so far
    return ""


def _upkeep_file(path: Path) -> Path:
    return path.with_suffix(".upkeep")


def begin_immediate(
    connection: sqlite3.Connection, patience_s: float, reason_to_give_up: Callable[[], str] = str
) -> None:
    """Begin a transaction that writes, and wait for other processes. Raises WriterBusy, sqlite3.OperationalError.

    While it waits it calls `reason_to_give_up` now and then, and gives up if that returns a text.
    """
    began = time.monotonic()
    ask_at = _ASK_EVERY_S
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - began
                if (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY:
                    raise
                if waited >= patience_s:
                    raise WriterBusy(
                        f"another process has kept it locked for {waited:.0f} s; is one stopped, or its disk stuck?"
                    ) from error
                if waited >= ask_at:
                    if reason := reason_to_give_up():
                        raise WriterBusy(reason) from error
                    ask_at = waited + _ASK_EVERY_S
                time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  # keeps processes out of step
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * patience_s)}")


class SQLite:
    """A `Kind` of database: see `web_tier.catalog.database`."""

    one_writer = True

    def __init__(self, url: URL) -> None:
        self._url = url
        self._path = Path(url.database or "")
        self.place = str(self._path)

    @contextmanager
    def connect(self, access: Access) -> Iterator[Connection]:
        engine = self._engines[access]
        with engine.begin() if access.writes else engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self._engines[Access.WRITE].dispose()

    @cached_property
    def _engines(self) -> dict[Access, Engine]:
        """The engines for each access, over one pool of connections."""
        engine = create_engine(
            self._url,
            hide_parameters=True,  # uploads and secrets must not get into a log
            pool_size=8,
            max_overflow=-1,  # to wait for a connection would gain nothing
            connect_args={"timeout": _BUSY_S, "check_same_thread": False},
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "handle_error", self._refuse_if_moved)
        return {access: engine.execution_options(access=access) for access in Access}

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold this process's turn to write. Raises Unavailable if it does not come in time."""
        try:
            with turns_at(os.path.realpath(self._path)).turn(_BUSY_S):
                yield
        except WriterBusy as error:
            raise Unavailable(f"catalogue {self.place}: {error}") from error
        except sqlite3.DatabaseError as error:  # raised by `_begin`; SQLAlchemy does not translate it
            raise Unavailable(f"catalogue {self.place}: {self.advice(error)}") from error

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Begin a transaction for a migration; others wait. Raises Unavailable if the folder cannot be used."""
        try:
            private_folder_if_new(self._path.parent)
            private_database(self._path)  # it holds secrets of webhooks
            private_file(self._path.with_suffix(".lock"))
            lock = self._path.with_suffix(".lock").open("w")
        except OSError as error:
            raise Unavailable(f"catalogue {self._path}: {error.strerror}; is the setting home right?") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with self.turn(), self.connect(Access.WRITE) as connection:
                yield connection

    def _begin(self, connection: Connection) -> None:
        """Lock for writing at the start: a transaction that reads first fails if another one writes in between."""
        access = connection.get_execution_options()["access"]
        if access is Access.SNAPSHOT:
            connection.exec_driver_sql("BEGIN")
        if not access.writes:
            return
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101  # as `_prepare` was given it
        raw.execute(f"PRAGMA synchronous = {'FULL' if access is Access.WRITE else 'NORMAL'}")
        begin_immediate(raw, _BUSY_S, lambda: upkeep_reason(self._path))

    def _refuse_if_moved(self, context: ExceptionContext) -> None:
        """Raise CatalogMoved for a change that the triggers of a catalogue that was moved have refused."""
        error = context.original_exception
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            raise CatalogMoved(f"catalogue {self.place}: {error}") from None

    def check_writable(self) -> None:
        """Check that the file can be read. A check whether it can be written would have to wait for writers."""
        with self.connect(Access.ONE_QUERY) as connection:
            connection.exec_driver_sql("SELECT 1 FROM batches LIMIT 1")

    def advice(self, error: BaseException | None) -> str:
        return _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, str(error))

    def fault(self, error: BaseException | None) -> Fault:
        """Classify an error. A file has no connection to lose, so all but READ_ONLY concern the statement."""
        read_only = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
        return Fault.READ_ONLY if read_only else Fault.REFUSED


_ADVICE = {
    sqlite3.SQLITE_BUSY: f"it was still locked after {_BUSY_S:.0f} s; is a process stopped, or its disk stuck?",
    sqlite3.SQLITE_FULL: "the disk is full; free some space, what was accepted is kept",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner and permissions, and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder is there and may be written",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check its free space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop tagfleet and restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; stop tagfleet and move it away",
}


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # `_begin` begins transactions, not the module sqlite3
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
