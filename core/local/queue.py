"""A queue with SQS's semantics in one SQLite file, shared by all queues of a deployment and several processes.

A message waits while `hidden_until` is NULL and is in flight while it is a time to come. Once that has passed, the
next receive makes it wait again, or moves it to the dead letters when it was delivered often enough. Dead letters
are messages of the queue NAME-dead.

`hidden_until` is told in the machine's uptime: the wall clock of one process may be off, or jump. After a boot all who
held a message are gone, and it comes back at once.
"""

from __future__ import annotations

import itertools
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import Unavailable
from core.local.uptime import Uptime
from core.storage.ports import Delivery, Depth
from core.util.backoff import compute_backoff
from core.util.disk_errors import guarded, locked
from core.util.private import private_database, private_folder_if_new

_SCHEMA = """
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY,
        queue TEXT NOT NULL,
        sent_at REAL NOT NULL,
        hidden_until REAL,
        receive_count INTEGER NOT NULL DEFAULT 0,
        receipt TEXT,
        body TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS messages_waiting ON messages (queue) WHERE hidden_until IS NULL;
    CREATE INDEX IF NOT EXISTS messages_hidden ON messages (queue, hidden_until) WHERE hidden_until IS NOT NULL;
    CREATE TABLE IF NOT EXISTS boots (only INTEGER PRIMARY KEY CHECK (only = 1), boot TEXT NOT NULL);
"""
_NEW_BOOT = "REPLACE INTO boots VALUES (1, ?)"
_ALL_RETURN = "UPDATE messages SET hidden_until = 0 WHERE hidden_until IS NOT NULL"
_READY = """
    SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND hidden_until IS NULL)
        OR EXISTS (SELECT 1 FROM messages WHERE queue = ? AND hidden_until <= ?)
"""
_BURY = """
    UPDATE messages SET queue = ?, hidden_until = NULL, receipt = NULL
    WHERE queue = ? AND hidden_until <= ? AND receive_count >= ?
"""
_RETURN = "UPDATE messages SET hidden_until = NULL WHERE queue = ? AND hidden_until <= ?"
_TAKE = """
    UPDATE messages SET hidden_until = ?, receive_count = receive_count + 1, receipt = ?
    WHERE id IN (SELECT id FROM messages WHERE queue = ? AND hidden_until IS NULL ORDER BY id LIMIT ?)
    RETURNING id, body, receive_count, sent_at
"""
_PEEK = """
    SELECT body, receive_count, sent_at FROM messages
    WHERE queue = ? AND (hidden_until IS NULL OR hidden_until <= ?) ORDER BY id LIMIT ?
"""
_PEEK_DEAD = """
    SELECT body, min(receive_count, :max), sent_at FROM messages
    WHERE queue = :dead OR (queue = :name AND hidden_until <= :now AND receive_count >= :max)
    ORDER BY id LIMIT :limit
"""
_COUNTS = """
    SELECT (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until IS NULL),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until > :now),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until <= :now AND receive_count < :max),
           (SELECT count(*) FROM messages WHERE queue = :name AND hidden_until <= :now AND receive_count >= :max),
           (SELECT count(*) FROM messages WHERE queue = :dead AND hidden_until IS NULL),
           (SELECT count(*) FROM messages WHERE queue = :dead AND hidden_until IS NOT NULL)
"""
_DEAD = "-dead"
_NEVER = 1 << 62
_REDRIVEN = 500
"""Messages of one transaction."""
_POLL_S = (0.001, 0.02)
"""First and longest pause between two looks of an idle `receive`; each look takes about 10 µs."""


class LocalQueue:
    """Safe for several threads, which share one connection under a lock, and for several processes.

    Make it, or use it first, after a fork: SQLite's connections do not survive one. `clock` gives Unix seconds, for
    the times that messages were sent; a file that others keep locked for `busy_timeout_s` raises Unavailable.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        visibility_timeout_s: float,
        max_receives: int,
        clock: Callable[[], float] = time.time,
        uptime: Uptime | None = None,
        busy_timeout_s: float = 10.0,
    ) -> None:
        if name.endswith(_DEAD):
            raise ValueError(f"queue {name!r}: names that end in {_DEAD} are kept for dead letters")
        self.name = name
        self._dead_name = name + _DEAD
        self._max_receives = max_receives
        self._visibility_timeout_s = visibility_timeout_s
        self._clock = clock
        uptime = uptime or Uptime.of_machine()
        self._uptime = uptime.now
        self._db = _Database(path, name, uptime.boot, busy_timeout_s)

    @property
    def per_request(self) -> int:
        return 1

    def send(self, bodies: Sequence[str]) -> None:
        """All or none: this queue has no PartialSend."""
        now = self._clock()
        with self._db.transaction(flush=True) as run:
            run.executemany(
                "INSERT INTO messages (queue, sent_at, body) VALUES (?, ?, ?)",
                [(self.name, now, body) for body in bodies],
            )

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        for look in itertools.count():
            if self._ready() and (found := self._take(limit)):
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            time.sleep(min(left, compute_backoff(look, base_s=_POLL_S[0], cap_s=_POLL_S[1])))
        raise AssertionError  # count() has no end

    def peek(self, limit: int) -> list[Delivery]:
        with self._db.reading() as run:
            rows = run.execute(_PEEK, (self.name, self._uptime(), limit)).fetchall()
        return [Delivery(body, "", count, sent_at) for body, count, sent_at in rows]

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self._on_deliveries("DELETE FROM messages WHERE receipt = ? AND id = ? AND queue = ?", deliveries)

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        until = self._uptime() + seconds
        self._on_deliveries(
            "UPDATE messages SET hidden_until = ? WHERE receipt = ? AND id = ? AND queue = ?", deliveries, until
        )

    def depth(self) -> Depth:
        """Exact at `read_at`. A message whose last delivery ran out counts as dead before a receive moves it."""
        values = {"name": self.name, "dead": self._dead_name, "now": self._uptime(), "max": self._max_receives}
        with self._db.reading() as run:
            waiting, in_flight, returned, exhausted, dead, dead_hidden = run.execute(_COUNTS, values).fetchone()
        return Depth(
            visible=waiting + returned,
            in_flight=in_flight,
            delayed=0,
            dead=exhausted + dead + dead_hidden,
            read_at=self._clock(),
        )

    def dead_letters(self) -> LocalQueue:
        """Its messages are never moved on, whatever their receive count, which goes on from where it was."""
        return _DeadLetters(self)

    def redrive(self, limit: int) -> int:
        """As SQS does it, each becomes a new message: sent now, received never, last in the queue.

        Dead letters that somebody has in flight are left alone.
        """
        moved = 0
        while moved < limit and (group := self._redrive_some(min(_REDRIVEN, limit - moved))):
            moved += group
        return moved

    def _redrive_some(self, limit: int) -> int:
        """Few at a time: senders wait meanwhile."""
        with self._db.transaction() as run:
            now = self._uptime()
            self._settle(run, now)
            run.execute(_RETURN, (self._dead_name, now))  # those that somebody looked at and gave back
            chosen = run.execute(
                "SELECT id FROM messages WHERE queue = ? AND hidden_until IS NULL ORDER BY id LIMIT ?",
                (self._dead_name, limit),
            ).fetchall()
            run.executemany(
                "INSERT INTO messages (queue, sent_at, body) SELECT ?, ?, body FROM messages WHERE id = ?",
                [(self.name, self._clock(), id_) for (id_,) in chosen],
            )
            run.executemany("DELETE FROM messages WHERE id = ?", chosen)
        return len(chosen)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        self._db.close()

    def _ready(self) -> bool:
        """Whether a receive has anything to do. Only reads: many idle receivers do not get in a sender's way."""
        with self._db.reading() as run:
            return bool(run.execute(_READY, (self.name, self.name, self._uptime())).fetchone()[0])

    def _take(self, limit: int) -> list[Delivery]:
        token = secrets.token_hex(8)
        with self._db.transaction() as run:
            now = self._uptime()
            self._settle(run, now)
            rows = run.execute(_TAKE, (now + self._visibility_timeout_s, token, self.name, limit)).fetchall()
        return [
            Delivery(body, receipt=f"{id_}:{token}", receive_count=count, sent_at=sent_at)
            for id_, body, count, sent_at in sorted(rows)
        ]

    def _settle(self, run: sqlite3.Cursor, now: float) -> None:
        """Messages that were hidden long enough wait again, or are dead."""
        run.execute(_BURY, (self._dead_name, self.name, now, self._max_receives))
        run.execute(_RETURN, (self.name, now))

    def _on_deliveries(self, statement: str, deliveries: Sequence[Delivery], *values: float) -> None:
        if not deliveries:
            return
        rows = []
        for delivery in deliveries:
            id_, _, token = delivery.receipt.partition(":")
            rows.append((*values, token, id_, self.name))
        with self._db.transaction() as run:
            run.executemany(statement, rows)


class _DeadLetters(LocalQueue):
    """The dead letters of `parent`, over its connection."""

    def __init__(self, parent: LocalQueue) -> None:
        self.name = parent._dead_name
        self._dead_name = ""
        self._max_receives = _NEVER
        self._visibility_timeout_s = parent._visibility_timeout_s
        self._clock = parent._clock
        self._uptime = parent._uptime
        self._db = parent._db
        self._parent = parent

    def peek(self, limit: int) -> list[Delivery]:
        """Those that somebody reads at this moment too, and those that no receive has moved here yet."""
        parent = self._parent
        values = {"dead": self.name, "name": parent.name, "now": self._uptime(), "max": parent._max_receives}
        with self._db.reading() as run:
            rows = run.execute(_PEEK_DEAD, {**values, "limit": limit}).fetchall()
        return [Delivery(body, "", count, sent_at) for body, count, sent_at in rows]

    def dead_letters(self) -> LocalQueue:
        raise ValueError(f"queue {self.name!r} holds dead letters and has none of its own")

    def redrive(self, limit: int) -> int:
        """Nothing to move: redrive the queue that these dead letters came from."""
        return 0

    def _ready(self) -> bool:
        return super()._ready() or self._parent._ready()

    def _settle(self, run: sqlite3.Cursor, now: float) -> None:
        self._parent._settle(run, now)
        super()._settle(run, now)


class _Database:
    """One connection, guarded by a lock and opened at its first use; SQLite's errors become Unavailable."""

    def __init__(self, path: Path, queue: str, boot: str, busy_timeout_s: float) -> None:
        self._path = path
        self._boot = boot
        self._busy_timeout_s = busy_timeout_s
        self._queue = queue
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        with guarded("make the folder of the queues", path.parent):
            private_folder_if_new(path.parent)

    @contextmanager
    def transaction(self, *, flush: bool = False) -> Iterator[sqlite3.Cursor]:
        """All that runs inside is committed together, or not at all.

        With `flush` it is on the disk when this returns. Without, a power cut may undo it: a message that was
        received or deleted comes back, which delivery at least once allows. A crash of the process undoes nothing.
        """
        with self._lock, self._explained():
            cursor = self._open().cursor()
            cursor.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if cursor.connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Cursor]:
        with self._lock, self._explained():
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
                self._connection.close()  # another file is there now; what is sent into a removed one is lost
                self._connection = None
            with locked(f"{self._path}.lock"):  # two first users must not both turn a new file into a WAL one
                private_database(self._path)
                connection = sqlite3.connect(
                    self._path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
                )
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(_SCHEMA)
                    if connection.execute("SELECT boot FROM boots").fetchone() != (self._boot,):
                        connection.execute(_ALL_RETURN)
                        connection.execute(_NEW_BOOT, (self._boot,))
                except BaseException:
                    connection.close()
                    raise
            self._inode = os.stat(self._path).st_ino  # noqa: PTH116
        self._connection = connection
        weakref.finalize(self, connection.close)
        return connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
                raise
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            advice = _ADVICE.get(code, f"SQLite says: {error}")
            raise Unavailable(f"queue {self._queue}: cannot use {self._path}: {advice}") from error


_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked; is one stopped, or its disk stuck? It is safe to try again",
    sqlite3.SQLITE_FULL: "the disk is full; free some space and try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; check its owner and permissions, and those of its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder is there and may be written",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; check its free space and its health",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop tagfleet, move it away and send the batches again",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; stop tagfleet and move it away",
}
