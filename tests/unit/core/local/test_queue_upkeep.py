"""The file of the local queues: its counts, their repair, and giving its free pages back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from core.errors import Unavailable
from core.local import queue_upkeep
from core.local.queue import LocalQueue

_PREVIOUS_VERSION = """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY, queue TEXT NOT NULL, sent_at REAL NOT NULL, hidden_until REAL,
        receive_count INTEGER NOT NULL DEFAULT 0, receipt TEXT, body TEXT NOT NULL
    );
    CREATE INDEX messages_waiting ON messages (queue) WHERE hidden_until IS NULL;
    CREATE INDEX messages_hidden ON messages (queue, hidden_until) WHERE hidden_until IS NOT NULL;
    CREATE TABLE boots (only INTEGER PRIMARY KEY CHECK (only = 1), boot TEXT NOT NULL);
"""
_SENT_BEFORE = "INSERT INTO messages (queue, sent_at, body) VALUES ('jobs', 0, 'x')"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queues.db"


@pytest.fixture
def queue(path):
    return LocalQueue(path, "jobs", visibility_timeout_s=30, max_receives=2)


def raw(path):
    """A connection as a process of the previous version, or a person, has it."""
    return closing(sqlite3.connect(path, isolation_level=None))


def fill(queue) -> None:
    """Two messages wait, one is in flight, one is dead."""
    queue.send(["dead"])
    for _ in range(2):
        queue.set_visibility(queue.receive(1, 0), 0)
    queue.send(["in flight"])
    queue.receive(1, 0)
    queue.send(["a", "b"])


def counts(queue) -> tuple[int, int, int]:
    depth = queue.depth()
    return depth.visible, depth.in_flight, depth.dead


def test_a_file_that_is_right_has_nothing_to_repair(path, queue):
    fill(queue)
    assert queue_upkeep.check(path) == []
    queue_upkeep.repair(path)
    assert (queue_upkeep.check(path), counts(queue)) == ([], (2, 1, 1))


def test_no_file_is_no_fault(path):
    assert queue_upkeep.check(path) == []
    queue_upkeep.repair(path)
    assert queue_upkeep.vacuum(path) == queue_upkeep.shrink(path) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (
            "UPDATE message_counts SET waiting = 9 WHERE queue = 'jobs'",
            "2 messages wait in queue jobs, but its count is 9",
        ),
        (
            "DELETE FROM message_counts WHERE queue = 'jobs-dead'",
            "1 messages wait in queue jobs-dead, but its count is 0",
        ),
        (
            "INSERT INTO message_counts VALUES ('none', -3)",
            "0 messages wait in queue none, but its count is -3",
        ),
        ("DROP TABLE message_counts", "the table message_counts is missing, so that nothing can be sent"),
        ("DROP TRIGGER count_sent", "the trigger count_sent, which counts messages, is missing or changed"),
    ],
)
def test_what_was_tampered_with_is_named_and_repaired(path, queue, harm, found):
    fill(queue)
    with raw(path) as connection:
        connection.execute(harm)
    (said,) = queue_upkeep.check(path)
    assert said == f"{path}: {found}"
    queue_upkeep.repair(path)
    assert queue_upkeep.check(path) == []
    queue.send(["c"])
    assert (queue_upkeep.check(path), counts(queue)) == ([], (3, 1, 1))


def test_a_damaged_file_is_named(path, queue):
    fill(queue)
    queue.close()
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    try:
        (said, *_) = queue_upkeep.check(path)
    except Unavailable as error:
        said = str(error)
    assert str(path) in said
    assert "is damaged" in said


def test_a_file_of_the_previous_version_is_counted_once_and_what_its_processes_do_is_counted_too(path, queue):
    with raw(path) as before:
        before.execute("PRAGMA journal_mode = WAL")
        before.executescript(_PREVIOUS_VERSION)
        for _ in range(3):
            before.execute(_SENT_BEFORE)
        before.execute("UPDATE messages SET hidden_until = 1e18, receipt = 'x', receive_count = 1 WHERE id = 1")
        before.execute("REPLACE INTO boots VALUES (1, ?)", (queue._db._boot,))
        assert queue_upkeep.check(path) == []
        assert counts(queue) == (2, 1, 0)
        before.execute(_SENT_BEFORE)
        before.execute("UPDATE messages SET hidden_until = 1e18, receipt = 'y', receive_count = 1 WHERE id = 2")
        before.execute("UPDATE messages SET queue = 'jobs-dead', hidden_until = NULL, receipt = NULL WHERE id = 1")
        before.execute("DELETE FROM messages WHERE id = 3")
        assert counts(queue) == (1, 1, 1)
        assert queue_upkeep.check(path) == []


def test_a_take_over_that_fails_leaves_the_file_as_it_was_and_can_be_repeated(path, queue, monkeypatch):
    with raw(path) as before:
        before.execute("PRAGMA journal_mode = WAL")
        before.executescript(_PREVIOUS_VERSION)
        before.execute(_SENT_BEFORE)
        monkeypatch.setattr("core.local.queue_schema.COUNTED", "SELECT no such thing")
        with pytest.raises(Unavailable):
            queue.depth()
        assert before.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone() == (0,)
        monkeypatch.undo()
        before.execute(_SENT_BEFORE)
    assert counts(queue) == (2, 0, 0)


def test_vacuum_gives_back_what_messages_took_while_others_use_the_file(path, queue):
    queue.send(["x" * 10_000] * 400)
    queue.delete(queue.receive(399, 0))
    gave_back = queue_upkeep.vacuum(path)
    assert gave_back > 3_000_000
    assert path.stat().st_size < 500_000
    queue.send(["after"])
    assert [len(delivery.body) for delivery in queue.receive(10, 0)] == [10_000, 5]
    assert queue_upkeep.check(path) == []


def test_a_vacuum_without_room_changes_nothing(path, queue, python):
    queue.send(["x" * 10_000] * 300)
    script = """
import resource, sys
from pathlib import Path
from core.errors import Unavailable
from core.local import queue_upkeep
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    queue_upkeep.vacuum(Path(sys.argv[1]))
except Unavailable as error:
    print(error)
"""
    said, errors = python(script, path).communicate(timeout=120)
    assert said.startswith(f"cannot use {path}: the disk "), errors
    assert (queue_upkeep.check(path), counts(queue)) == ([], (300, 0, 0))


def test_a_locked_file_is_not_shrunk(path, queue, monkeypatch):
    monkeypatch.setattr(queue_upkeep, "_BUSY_S", 0.01)
    queue.send(["x"])
    with raw(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another process keeps it locked"):
            queue_upkeep.vacuum(path)


@pytest.mark.parametrize(("left", "shrinks"), [(10, True), (1900, False)])
def test_a_file_shrinks_by_itself_once_it_is_mostly_free(path, queue, left, shrinks):
    """2,000 messages of 20 kB: 16 MB free pages and more are given back, unless that much would have to be copied."""
    queue.send(["x" * 20_000] * 2_000)
    assert queue_upkeep.shrink(path) == 0
    queue.delete(queue.receive(2_000 - left, 0))
    with raw(path) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (queue_upkeep.shrink(path) > 30_000_000) == shrinks
    assert counts(queue) == (left, 0, 0)
