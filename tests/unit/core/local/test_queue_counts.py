"""Depths against full counts: any calls by two connections, by the previous version's statements, and across boots."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from core.local import queue_upkeep
from core.local.queue import LocalQueue
from core.local.uptime import Uptime
from core.storage.ports import Delivery

_MAX_RECEIVES = 2
_TAKE_BEFORE = """
    UPDATE messages SET hidden_until = ?, receive_count = receive_count + 1, receipt = 'before'
    WHERE id IN (SELECT id FROM messages WHERE queue = 'jobs' AND hidden_until IS NULL ORDER BY id LIMIT ?)
"""
_BURY_BEFORE = """
    UPDATE messages SET queue = 'jobs-dead', hidden_until = NULL, receipt = NULL
    WHERE queue = 'jobs' AND hidden_until <= ? AND receive_count >= ?
"""
_FULL_COUNT = """
    SELECT sum(name = :name AND (hidden_until IS NULL OR hidden_until <= :now AND receive_count < :max)),
           sum(name = :name AND coalesce(hidden_until, 0) > :now),
           sum(name = :dead OR name = :name AND coalesce(hidden_until, :now + 1) <= :now AND receive_count >= :max)
    FROM (SELECT queue AS name, hidden_until, receive_count FROM messages)
"""


class _Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queues.db"
        self.now = 1_000.0
        self.boots = 0
        self.received: list[Delivery] = []
        self._open()
        self.clients[0].depth()
        self.raw = sqlite3.connect(self.path, isolation_level=None)

    def _open(self) -> None:
        uptime = Uptime(lambda: self.now, f"boot {self.boots}")
        self.clients = [
            LocalQueue(self.path, "jobs", visibility_timeout_s=30, max_receives=_MAX_RECEIVES, uptime=uptime)
            for _ in range(2)
        ]
        self.other = LocalQueue(self.path, "results", visibility_timeout_s=30, max_receives=9, uptime=uptime)

    @property
    def queue(self) -> LocalQueue:
        """Another connection at every call."""
        self.clients.reverse()
        return self.clients[0]

    @rule(count=st.sampled_from([1, 3, 10, 113]))
    def send(self, count):
        self.queue.send(["x"] * count)
        self.other.send(["y"])

    @rule(limit=st.sampled_from([1, 5, 111]))
    def receive(self, limit):
        self.received += self.queue.receive(limit, 0)

    @rule(limit=st.integers(1, 5))
    def receive_dead_letters(self, limit):
        self.received += self.queue.dead_letters().receive(limit, 0)

    @rule(start=st.integers(0, 300), count=st.integers(1, 120), dead=st.booleans())
    def delete(self, start, count, dead):
        queue = self.queue.dead_letters() if dead else self.queue
        queue.delete(self.received[start : start + count])

    @rule(start=st.integers(0, 300), count=st.integers(1, 120), dead=st.booleans(), seconds=st.sampled_from([0, 5, 60]))
    def set_visibility(self, start, count, dead, seconds):
        queue = self.queue.dead_letters() if dead else self.queue
        queue.set_visibility(self.received[start : start + count], seconds)

    @rule(limit=st.integers(1, 20))
    def redrive(self, limit):
        self.queue.redrive(limit)

    @rule(limit=st.integers(1, 20), delete=st.booleans())
    def sweep(self, limit, delete):
        dead = self.queue.dead_letters()
        found = dead.unswept(limit)
        dead.mark_swept(found)
        assert not {letter.receipt for letter in found} & {letter.receipt for letter in dead.unswept(1_000)}
        if delete:
            dead.delete(found[:2])

    @rule(seconds=st.sampled_from([1, 10, 31]))
    def pass_time(self, seconds):
        self.now += seconds

    @rule()
    def boot(self):
        self.boots += 1
        self.now = 10.0
        for queue in (*self.clients, self.other):
            queue.close()
        self._open()

    @rule(count=st.integers(1, 20))
    def previous_version_sends(self, count):
        self.raw.executemany("INSERT INTO messages (queue, sent_at, body) VALUES ('jobs', 0, ?)", [("x",)] * count)

    @rule(limit=st.integers(1, 20))
    def previous_version_receives(self, limit):
        self.raw.execute(_BURY_BEFORE, (self.now, _MAX_RECEIVES))
        self.raw.execute(
            "UPDATE messages SET hidden_until = NULL WHERE queue = 'jobs' AND hidden_until <= ?", (self.now,)
        )
        self.raw.execute(_TAKE_BEFORE, (self.now + 30, limit))

    @rule()
    def previous_version_deletes(self):
        self.raw.execute("DELETE FROM messages WHERE receipt = 'before' AND queue = 'jobs'")

    @rule()
    def shrink(self):
        queue_upkeep.vacuum(self.path)

    @invariant()
    def depths_are_full_counts(self):
        values = {"name": "jobs", "dead": "jobs-dead", "now": self.now, "max": _MAX_RECEIVES}
        depth = self.queue.depth()
        assert [depth.visible, depth.in_flight, depth.dead] == [
            count or 0 for count in self.raw.execute(_FULL_COUNT, values).fetchone()
        ]
        dead = self.queue.dead_letters()
        assert dead.depth().outstanding == len(dead.peek(10_000)) - self._exhausted()
        assert queue_upkeep.check(self.path) == []

    def _exhausted(self) -> int:
        query = "SELECT count(*) FROM messages WHERE queue = 'jobs' AND hidden_until <= ? AND receive_count >= ?"
        return self.raw.execute(query, (self.now, _MAX_RECEIVES)).fetchone()[0]

    def teardown(self):
        for queue in (*self.clients, self.other, self.raw):
            queue.close()
        self.folder.cleanup()


def test_depths_hold_whatever_is_done_and_by_whom() -> None:
    run_state_machine_as_test(_Machine, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))


def test_pages_of_dead_letters_hold_each_once(tmp_path) -> None:
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=30, max_receives=1)
    queue.send([str(number) for number in range(25)])
    queue.set_visibility(queue.receive(23, 0), 0)
    queue.receive(1, 0)  # moves the dead letters
    dead = queue.dead_letters()
    dead.receive(3, 0)  # some are in flight
    seen: list[str] = []
    after = ""
    while page := dead.peek(4, after):
        seen += [letter.body for letter in page]
        after = page[-1].position
    assert seen == [str(number) for number in range(23)]
