"""Queues with SQS's semantics in one SQLite file, shared by all queues and processes of a deployment.

A message waits while `hidden_until` is NULL, and is in flight while it is in the future. Once it has passed, the next
receive makes the message wait again, or moves it to the dead letters after `max_receives` deliveries. Dead letters are
messages of the queue NAME-dead.

`hidden_until` is in the machine's uptime, as the wall clock may be wrong, or jump. After a boot no process holds a
message any more, so all come back at once.
"""

from __future__ import annotations

import itertools
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from core.local import queue_statements as statements
from core.local.queue_database import QueueDatabase
from core.local.uptime import Uptime
from core.storage.ports import Delivery, Depth
from core.util.backoff import compute_backoff

_DEAD = "-dead"
_HANDLED = "swept"
"""The receipt of a dead letter that a sweep has handled; it has none before."""
_NEVER = 1 << 62
_TOGETHER = (100, 10, 1)
"""Messages per statement: few different statements, as each has to be compiled, and few of them for many messages."""
_REDRIVEN = 500
"""Messages per transaction."""
_POLL_S = (0.001, 0.02)
"""First and longest pause between two looks of an idle `receive`. Each look takes about 10 µs."""


class LocalQueue:
    """Safe for several processes, and for several threads, which share one connection under a lock.

    Create or first use it after a fork: SQLite's connections do not survive one. `clock` gives Unix seconds, for the
    times of sending. Raises Unavailable if others keep the file locked for `busy_timeout_s`.
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
            raise ValueError(f"queue {name!r}: names that end in {_DEAD} are reserved for dead letters")
        self.name = name
        self._dead_name = name + _DEAD
        self._max_receives = max_receives
        self._visibility_timeout_s = visibility_timeout_s
        self._clock = clock
        uptime = uptime or Uptime.of_machine()
        self._uptime = uptime.now
        self._db = QueueDatabase(path, name, uptime.boot, busy_timeout_s)

    @property
    def per_request(self) -> int:
        return 1

    def send(self, bodies: Sequence[str]) -> None:
        """Send all or none: this queue never raises PartialSend."""
        now = self._clock()
        self._db.write(lambda run: _insert(run, self.name, now, bodies), flush=True)

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

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        return self._page(statements.PEEK, {"name": self.name, "now": self._uptime()}, limit, after)

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self._on_deliveries(statements.DELETE, deliveries)

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        self._on_deliveries(statements.HIDE, deliveries, self._uptime() + seconds)

    def depth(self) -> Depth:
        """Return exact counts. A message whose last delivery timed out counts as dead before a receive moves it.

        Takes the same time whatever waits, and some 60 ns for each message in flight, which are those that workers hold
        or held when they were killed.
        """
        values = {"name": self.name, "dead": self._dead_name, "now": self._uptime(), "max": self._max_receives}
        with self._db.reading() as run:
            waiting, in_flight, returned, exhausted, dead, dead_hidden = run.execute(
                statements.COUNTS, values
            ).fetchone()
        return Depth(
            visible=(waiting or 0) + returned,
            in_flight=in_flight,
            delayed=0,
            dead=exhausted + (dead or 0) + dead_hidden,
            read_at=self._clock(),
        )

    def dead_letters(self) -> LocalQueue:
        """Return the queue of dead letters. It never moves them on, and continues their receive counts."""
        return _DeadLetters(self)

    def redrive(self, limit: int) -> int:
        """Make each dead letter a new message, as SQS does: sent now, never received, last in the queue.

        Dead letters in flight stay where they are.
        """
        moved = 0
        while moved < limit and (group := self._redrive_some(min(_REDRIVEN, limit - moved))):
            moved += group
        return moved

    def _redrive_some(self, limit: int) -> int:
        """Move up to `limit` dead letters in one transaction, for which senders have to wait."""
        with self._db.transaction() as run:
            now = self._uptime()
            self._settle(run, now)
            run.execute(
                statements.RETURN, (self._dead_name, now)
            )  # dead letters that were received, and whose time is over
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

    def _page(self, statement: str, values: dict[str, object], limit: int, after: str) -> list[Delivery]:
        with self._db.reading() as run:
            rows = run.execute(statement, {**values, "limit": limit, "after": int(after or 0)}).fetchall()
        return [Delivery(body, "", count, sent_at, str(id_)) for id_, body, count, sent_at in rows]

    def _ready(self) -> bool:
        """Return whether a receive would find work. This only reads, so idle receivers do not delay senders."""
        return bool(self._db.first(statements.READY, (self.name, self.name, self._uptime()))[0])

    def _take(self, limit: int) -> list[Delivery]:
        token = secrets.token_hex(8)
        with self._db.transaction() as run:
            now = self._uptime()
            self._settle(run, now)
            rows = run.execute(statements.TAKE, (now + self._visibility_timeout_s, token, self.name, limit)).fetchall()
        return [
            Delivery(body, receipt=f"{id_}:{token}", receive_count=count, sent_at=sent_at)
            for id_, body, count, sent_at in sorted(rows)
        ]

    def _settle(self, run: sqlite3.Cursor, now: float) -> None:
        """Make messages wait again whose hidden time is over, or move them to the dead letters."""
        run.execute(statements.BURY, (self._dead_name, self.name, now, self._max_receives))
        run.execute(statements.RETURN, (self.name, now))

    def _on_deliveries(self, statement: str, deliveries: Sequence[Delivery], *values: float) -> None:
        ids: dict[str, list[str]] = {}
        for delivery in deliveries:
            id_, _, token = delivery.receipt.partition(":")
            if id_.isdecimal():
                ids.setdefault(token, []).append(id_)

        def change(run: sqlite3.Cursor) -> None:
            for token, group in ids.items():
                for part in _parts(group):
                    run.execute(statement + _places(part), (*values, self.name, token, *part))

        if ids:
            self._db.write(change)


def _insert(run: sqlite3.Cursor, queue: str, now: float, bodies: Sequence[str]) -> None:
    for part in _parts(bodies):
        run.execute(statements.SEND + ", ".join(["(?1, ?2, ?)"] * len(part)), (queue, now, *part))


def _places(values: Sequence[object]) -> str:
    return f"({', '.join('?' * len(values))})"


def _parts(items: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the items in parts of as many as one statement takes."""
    start = 0
    for size in _TOGETHER:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


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

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        """Return dead letters, also if they are in flight, or no receive has moved them here yet."""
        parent = self._parent
        values: dict[str, object] = {
            "dead": self.name,
            "name": parent.name,
            "now": self._uptime(),
            "max": parent._max_receives,
        }
        return self._page(statements.PEEK_DEAD, values, limit, after)

    def unswept(self, limit: int) -> list[Delivery]:
        parent = self._parent
        if self._db.first(statements.EXHAUSTED, (parent.name, self._uptime(), parent._max_receives))[0]:
            with self._db.transaction() as run:
                parent._settle(run, self._uptime())
        with self._db.reading() as run:
            rows = run.execute(statements.UNSWEPT, (self.name, limit)).fetchall()
        return [Delivery(body, f"{id_}:{_HANDLED}", count, at) for id_, body, count, at in rows]

    def swept(self, limit: int, after: str = "") -> list[Delivery]:
        with self._db.reading() as run:
            rows = run.execute(statements.SWEPT, (self.name, int(after or 0), limit)).fetchall()
        return [Delivery(body, f"{id_}:{token}", count, at, str(id_)) for id_, body, count, at, token in rows]

    def mark_swept(self, deliveries: Sequence[Delivery]) -> None:
        ids = [delivery.receipt.partition(":")[0] for delivery in deliveries]

        def mark(run: sqlite3.Cursor) -> None:
            for part in _parts(ids):
                run.execute(statements.MARK + _places(part), (_HANDLED, self.name, *part))

        self._db.write(mark)

    def dead_letters(self) -> LocalQueue:
        raise ValueError(f"queue {self.name!r} holds dead letters and has none of its own")

    def redrive(self, limit: int) -> int:
        """Return 0: redrive the queue that these dead letters came from."""
        return 0

    def _ready(self) -> bool:
        return super()._ready() or self._parent._ready()

    def _settle(self, run: sqlite3.Cursor, now: float) -> None:
        self._parent._settle(run, now)
        super()._settle(run, now)
