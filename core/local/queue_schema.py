"""The tables of the local queues' file, and its counts, which triggers keep.

1. `message_counts` holds how many messages of each queue wait, so that a depth need not count them. Hidden messages are
   counted by their index: they are no more than workers hold, and their deletion would cost a tenth more otherwise.
2. The counts change by triggers in the file. So they also count what processes of an earlier version do, and they are
   part of the transaction that they count.
3. A message loses its receipt when it becomes a dead letter, and gets one when a sweep has handled it. So the index
   `messages_unswept` holds the dead letters that are new, whatever process moved them.
4. The first process that opens a file of an earlier version counts once, in the transaction that makes the triggers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_TABLES = """
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
    CREATE INDEX IF NOT EXISTS messages_unswept ON messages (queue) WHERE receive_count > 0 AND receipt IS NULL;
    CREATE TABLE IF NOT EXISTS boots (only INTEGER PRIMARY KEY CHECK (only = 1), boot TEXT NOT NULL);
"""
_COUNTS_TABLE = """
    CREATE TABLE IF NOT EXISTS message_counts (queue TEXT PRIMARY KEY, waiting INTEGER NOT NULL) WITHOUT ROWID
"""
_ADD = """
    INSERT INTO message_counts VALUES (NEW.queue, NEW.hidden_until IS NULL)
    ON CONFLICT (queue) DO UPDATE SET waiting = waiting + excluded.waiting;
"""
_SUBTRACT = "UPDATE message_counts SET waiting = waiting - (OLD.hidden_until IS NULL) WHERE queue = OLD.queue;"
_SHIFT = """
    UPDATE message_counts SET waiting = waiting + (NEW.hidden_until IS NULL) - (OLD.hidden_until IS NULL)
    WHERE queue = NEW.queue;
"""
_STATE_CHANGES = "OLD.queue = NEW.queue AND (OLD.hidden_until IS NULL) <> (NEW.hidden_until IS NULL)"
TRIGGERS = {
    "count_sent": f"AFTER INSERT ON messages BEGIN {_ADD} END",
    "count_deleted": f"AFTER DELETE ON messages WHEN OLD.hidden_until IS NULL BEGIN {_SUBTRACT} END",
    "count_hidden": f"AFTER UPDATE OF hidden_until ON messages WHEN {_STATE_CHANGES} BEGIN {_SHIFT} END",
    "count_moved": f"AFTER UPDATE OF queue ON messages WHEN OLD.queue <> NEW.queue BEGIN {_SUBTRACT} {_ADD} END",
}
"""By name: the rest of each trigger's statement."""
COUNTED = "SELECT queue, count(*) FROM messages WHERE hidden_until IS NULL GROUP BY queue"
_NEW_BOOT = "REPLACE INTO boots VALUES (1, ?)"
_ALL_RETURN = "UPDATE messages SET hidden_until = 0 WHERE hidden_until IS NOT NULL"


def prepare(connection: sqlite3.Connection, boot: str) -> None:
    """Make the tables, or take over a file of an earlier version; after a boot, let all hidden messages return.

    Only one process may do this at a time. Raises sqlite3.DatabaseError; then the file is as it was, or complete.
    """
    connection.execute("PRAGMA temp_store = MEMORY")  # of the undo of a statement, which else is a file
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_TABLES)
    if not has_counts(connection):
        with transaction(connection):
            count_again(connection)
    if connection.execute("SELECT boot FROM boots").fetchone() != (boot,):
        connection.execute(_ALL_RETURN)
        connection.execute(_NEW_BOOT, (boot,))


def has_counts(connection: sqlite3.Connection) -> bool:
    """Return whether the file has the table of counts."""
    query = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'message_counts')"
    return bool(connection.execute(query).fetchone()[0])


def count_again(connection: sqlite3.Connection) -> None:
    """Make or replace triggers and counts. Call it in a transaction."""
    connection.execute(_COUNTS_TABLE)
    for name, rest in TRIGGERS.items():
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
        connection.execute(f"CREATE TRIGGER {name} {rest}")
    connection.execute("DELETE FROM message_counts")
    connection.execute(f"INSERT INTO message_counts {COUNTED}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all statements of the block together, or none. Takes the write lock at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
