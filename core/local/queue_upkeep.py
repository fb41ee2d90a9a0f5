"""Check, repair and shrink the file of the local queues, also while others use it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.local.queue_database import translate_errors
from core.local.queue_schema import COUNTED, TRIGGERS, count_again, has_counts, transaction

_BUSY_S = 30.0
_SPARE = 16 << 20
"""Bytes of free pages that `shrink` leaves for messages to come, and of used pages that it copies at most."""


def check(path: Path) -> list[str]:
    """Return a sentence for each thing that is wrong with the file; none if there is no file.

    Reads the whole file. One that no process of this version has opened has no counts, which is not wrong.
    Raises Unavailable.
    """
    if not path.exists():
        return []
    with _opened(path) as connection:
        found = [
            f"{path} is damaged: {text}. Stop tagfleet, move the file away and send the batches again"
            for (text,) in connection.execute("PRAGMA quick_check(5)")
            if text != "ok"
        ]
        return found or [*_wrong_triggers(connection, path), *_wrong_counts(connection, path)]


def repair(path: Path) -> None:
    """Count all messages again, in one transaction, for which senders wait. Raises Unavailable."""
    if not path.exists():
        return
    with _opened(path) as connection, transaction(connection):
        count_again(connection)


def vacuum(path: Path) -> int:
    """Rewrite the file without its free pages; return how many bytes it is smaller now.

    Copies the messages that are there, for which senders and receivers wait, and needs free disk space for two copies
    meanwhile. Raises Unavailable if the space or the lock cannot be had; then the file is as it was.
    """
    if not path.exists():
        return 0
    before = _size(path)
    with _opened(path) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return max(0, before - _size(path))


def shrink(path: Path) -> int:
    """`vacuum` if that gives back much and takes a moment: the file is mostly free pages. Return the bytes given back.

    Cheap otherwise. Raises Unavailable.
    """
    if not path.exists() or path.stat().st_size < _SPARE:
        return 0
    with _opened(path) as connection:
        size, pages, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
    return vacuum(path) if free * size >= _SPARE >= (pages - free) * size else 0


def _wrong_triggers(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    there = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
    if not there and not has_counts(connection):
        return
    for name, rest in TRIGGERS.items():
        if there.get(name) != f"CREATE TRIGGER {name} {rest}":
            yield f"{path}: the trigger {name}, which counts messages, is missing or changed"


def _wrong_counts(connection: sqlite3.Connection, path: Path) -> Iterator[str]:
    if not has_counts(connection):
        if connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'trigger'").fetchone():
            yield f"{path}: the table message_counts is missing, so that nothing can be sent"
        return
    with _at_one_moment(connection):
        kept = dict(connection.execute("SELECT queue, waiting FROM message_counts"))
        counted = dict(connection.execute(COUNTED))
    for queue in sorted(kept.keys() | counted.keys()):
        told, true = kept.get(queue, 0), counted.get(queue, 0)
        if told != true:
            yield f"{path}: {true} messages wait in queue {queue}, but its count is {told}"


@contextmanager
def _at_one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all reads of the block see the file at one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with (
        translate_errors(f"cannot use {path}"),
        closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S, isolation_level=None)
        ) as connection,
    ):
        yield connection


def _size(path: Path) -> int:
    """Return the bytes of the file and of its write-ahead log."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
