"""One connection to the SQLite file of the local queues, with SQLite's errors as Unavailable."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from core.errors import Unavailable
from core.local.queue_schema import prepare
from core.util.disk_errors import guarded, locked
from core.util.group_commit import GroupCommit
from core.util.private import private_database, private_folder_if_new


class QueueDatabase:
    """One connection, guarded by a lock and opened at its first use. Turns SQLite's errors into Unavailable."""

    def __init__(self, path: Path, queue: str, boot: str, busy_timeout_s: float) -> None:
        self._path = path
        self._boot = boot
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._translated = translate_errors(f"queue {queue}: cannot use {path}")
        self._flushes: bool | None = None
        self._group = GroupCommit(lambda flush: self.transaction(flush=flush))
        with guarded("make the folder of the queues", path.parent):
            private_folder_if_new(path.parent)

    @contextmanager
    def transaction(self, *, flush: bool = False) -> Iterator[sqlite3.Cursor]:
        """Commit all statements of the block together, or none.

        With `flush` they are on the disk when this returns. Without it a power cut may undo them: a message that was
        received or deleted comes back, which at-least-once delivery allows. A crash of the process undoes nothing.
        """
        with self._lock, self._translated:
            cursor = self._open().cursor()
            if flush != self._flushes:
                cursor.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
                self._flushes = flush
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if cursor.connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    def write(self, work: Callable[[sqlite3.Cursor], object], *, flush: bool = False) -> None:
        """Run `work` in a transaction, which it may share with work of other threads. Returns once it is committed."""
        self._group.run(work, durable=flush)

    def first(self, statement: str, values: Sequence[object]) -> Any:
        """Return the first row of a query, None if there is none."""
        with self._lock:
            try:
                return self._open().execute(statement, values).fetchone()
            except sqlite3.DatabaseError:
                with self._translated:
                    raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._translated:
            yield self._open().cursor()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        with guarded("open the queues in", self._path):
            if self._connection is not None:
                if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116  # once per operation
                    return self._connection
                self._connection.close()  # the file was replaced; messages sent into the old one would be lost
                self._connection = None
            with locked(f"{self._path}.lock"):  # only one first user may turn a new file into WAL mode
                private_database(self._path)
                connection = sqlite3.connect(
                    self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
                )
                try:
                    prepare(connection, self._boot)
                except BaseException:
                    connection.close()
                    raise
            self._inode = os.stat(self._path).st_ino  # noqa: PTH116
            self._flushes = None
        self._connection = connection
        weakref.finalize(self, connection.close)
        return connection


class translate_errors:  # noqa: N801  # reads as a verb: `with translate_errors("cannot use FILE"):`
    """Raises SQLite's errors as Unavailable, whose text is `failed` and advice. Mistakes of this program pass.

    A class, as it is entered several hundred times a second.
    """

    __slots__ = ("_failed",)

    def __init__(self, failed: str) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, sqlite3.DatabaseError):
            return
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            return
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _ADVICE.get(code, f"SQLite says: {error}")
        raise Unavailable(f"{self._failed}: {advice}") from error


_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked; is one stopped, or its disk stuck? It is safe to try again",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner and permissions, and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists and may be written",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check its free space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop tagfleet, move it away and send the batches again",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database; stop tagfleet and move it away",
}
