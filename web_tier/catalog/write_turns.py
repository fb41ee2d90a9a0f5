"""Turns at writing a SQLite file, first come first served.

SQLite lets one transaction write at a time and keeps no queue: who finds the file locked sleeps and tries again, for
longer each time, so of many writers some wait for ever while others come and go. Therefore:

1. The threads of one process queue here. The one at the head of the queue is the only one that asks SQLite.
2. It asks SQLite again after a millisecond or two, at random, so that two processes take turns by chance.
3. Who writes in bulk leaves the file alone between its transactions, for at least as long as each of them took.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import getpid

_PAUSE_S = (0.0005, 0.002)


class WriterBusy(Exception):
    """The turn did not come in time. The text says who kept it, and what to do."""


class WriteTurns:
    """The turns of this process at one file. Safe for several threads. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[threading.Event] = deque()
        self._taken_at: float | None = None

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[None]:
        """Hold the turn for this block. Raises WriterBusy if it does not come within `patience_s`."""
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
                return  # it came just now
            ahead = self._queue.index(mine)
            self._queue.remove(mine)
            since = self._clock() - (self._taken_at or 0.0)
        raise WriterBusy(_explained(since, ahead, patience_s))

    def _pass_on(self) -> None:
        with self._lock:
            if self._queue:
                self._taken_at = self._clock()
                self._queue.popleft().set()
            else:
                self._taken_at = None


def _explained(since: float, ahead: int, patience_s: float) -> str:
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
    """The turns of this process at the file `path`, whoever in it asks."""
    with _knowing:
        return _known.setdefault((getpid(), path), WriteTurns())


def begin_immediate(connection: sqlite3.Connection, patience_s: float) -> None:
    """Begin a transaction that writes; wait for other processes. Raises WriterBusy, sqlite3.OperationalError."""
    began = time.monotonic()
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
                time.sleep(random.uniform(*_PAUSE_S))  # noqa: S311  # chance keeps processes out of step
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * patience_s)}")
