"""What is particular to the queue on SQLite."""

from __future__ import annotations

import sqlite3
import time
from itertools import count

import pytest

from core.errors import Unavailable
from core.local import queue_statements
from core.local.queue import LocalQueue
from core.local.uptime import Uptime

_OPEN = """
import sys
from pathlib import Path
from core.local.queue import LocalQueue
queue = LocalQueue(Path(sys.argv[1]), "jobs", visibility_timeout_s=float(sys.argv[2]), max_receives=100)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queues.db"


@pytest.fixture
def open_queue(path):
    def make(name="jobs", *, visibility_timeout_s=30.0, max_receives=3, **more):
        return LocalQueue(path, name, visibility_timeout_s=visibility_timeout_s, max_receives=max_receives, **more)

    return make


def test_several_processes_share_a_queue_and_one_of_them_is_killed(path, open_queue, python, eventually):
    send = (
        _OPEN
        + """
for number in range(150):
    queue.send([f"{sys.argv[3]}-{number}-{part}" for part in range(2)])
"""
    )
    consume = (
        _OPEN
        + """
while not Path(sys.argv[3]).exists():
    deliveries = queue.receive(5, 0.1)
    for delivery in deliveries:
        print(delivery.body)
    queue.set_visibility(deliveries, 1)
    queue.delete(deliveries)
"""
    )
    hold = (
        _OPEN
        + """
while True:
    print(len(queue.receive(3, 1)), flush=True)
"""
    )
    holder = python(hold, path, 1)
    senders = [python(send, path, 1, name) for name in "ab"]
    over = path.with_name("over")
    consumers = [python(consume, path, 1, over) for _ in range(2)]
    for _ in range(5):
        assert holder.stdout.readline()
    holder.kill()  # with messages in flight
    for process in senders:
        assert process.wait(120) == 0, process.stderr.read()
    eventually(lambda: open_queue(max_receives=100).depth().outstanding == 0)
    over.touch()
    seen = set()
    for process in consumers:
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        seen |= set(said.split())
    assert seen == {f"{name}-{number}-{part}" for name in "ab" for number in range(150) for part in range(2)}
    assert open_queue(max_receives=100).depth().dead == 0


def test_no_message_is_delivered_twice_while_it_is_in_flight(path, open_queue, python):
    open_queue().send([str(number) for number in range(600)])
    script = (
        _OPEN
        + """
while deliveries := queue.receive(7, 0):
    for delivery in deliveries:
        print(delivery.body)
"""
    )
    processes = [python(script, path, 600) for _ in range(3)]
    bodies = []
    for process in processes:
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        bodies += said.split()
    assert sorted(bodies, key=int) == [str(number) for number in range(600)]


@pytest.mark.parametrize("announced", [1, 4, 11])
def test_a_sender_killed_in_the_middle_loses_nothing_that_it_sent(path, open_queue, python, announced):
    script = (
        _OPEN
        + """
for number in range(100_000):
    queue.send([f"{number}-{part}" for part in range(7)])
    print(number, flush=True)
"""
    )
    process = python(script, path, 30)
    for number in range(announced):
        assert process.stdout.readline() == f"{number}\n", process.stderr.read()
    process.kill()
    process.wait()
    deliveries = []
    queue = open_queue()
    while received := queue.receive(1_000, 0):
        deliveries += received
    whole, rest = divmod(len(deliveries), 7)
    assert rest == 0, "a call sends all or none"
    assert whole >= announced
    assert [delivery.body for delivery in deliveries] == [f"{n}-{part}" for n in range(whole) for part in range(7)]


def test_first_users_at_once_make_one_file(path, open_queue, python):
    script = _OPEN + "queue.send(['x'])"
    processes = [python(script, path, 30) for _ in range(5)]
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
    assert open_queue().depth().visible == 5


def test_a_queue_kept_locked_is_unavailable_but_can_be_read(path, open_queue):
    queue = open_queue(busy_timeout_s=0.05)
    queue.send(["one"])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as caught:
        queue.send(["two"])
    assert str(caught.value) == (
        f"queue jobs: cannot use {path}: another process keeps it locked; is one stopped, or its disk stuck?"
        " It is safe to try again"
    )
    assert queue.depth().visible == 1
    other.close()
    queue.send(["two"])
    assert [delivery.body for delivery in queue.receive(10, 0)] == ["one", "two"]


def test_a_full_disk_is_unavailable_and_leaves_what_is_there(open_queue):
    queue = open_queue()
    queue.send(["before"])
    with queue._db.reading() as run:
        run.execute("PRAGMA max_page_count = 10")  # SQLite answers as it does for ENOSPC
    with pytest.raises(Unavailable, match=r"queue jobs: .*/queues.db: the disk is full; free some space and try again"):
        queue.send(["small", "x" * 100_000])
    assert [delivery.body for delivery in queue.receive(10, 0)] == ["before"]


def test_a_write_that_the_system_refuses_is_unavailable(path, open_queue, python):
    script = (
        _OPEN
        + """
import resource
from core.errors import Unavailable
queue.send(["before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    queue.send(["x" * 1_000_000])
except Unavailable as error:
    print(error)
"""
    )
    said, errors = python(script, path, 30).communicate(timeout=120)
    assert said == (
        f"queue jobs: cannot use {path}: the disk reports an input/output error; check its free space and its health\n"
    ), errors
    assert [delivery.body for delivery in open_queue().receive(10, 0)] == ["before"]


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"SQLite format 3\x00" + b"\xff" * 4_000])
def test_a_file_that_is_no_database_is_named(path, open_queue, content):
    path.write_bytes(content)
    with pytest.raises(Unavailable, match=r"queue jobs: cannot use .*/queues.db: the file is"):
        open_queue().receive(1, 0)


def test_nothing_is_sent_into_a_file_that_was_removed(path, open_queue):
    queue = open_queue()
    queue.send(["lost with its file"])
    for file in path.parent.glob("queues.db*"):
        file.unlink()
    with pytest.raises(Unavailable, match=r"queues.db: it is not there; was it removed or unmounted"):
        queue.send(["refused"])
    other = open_queue()
    other.send(["into a new file"])
    queue.send(["kept"])
    assert [delivery.body for delivery in other.receive(10, 0)] == ["into a new file", "kept"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=f"cannot make the folder of the queues {tmp_path}/file/a: Not a directory"):
        LocalQueue(tmp_path / "file" / "a" / "q.db", "jobs", visibility_timeout_s=1, max_receives=1)


def test_any_text_is_kept(open_queue):
    queue = open_queue()
    bodies = ["", "\x00middle\x00", "🐕‍🦺", "'; DROP TABLE messages; --", "\n"]
    queue.send(bodies)
    assert [delivery.body for delivery in queue.receive(10, 0)] == bodies


def test_the_oldest_come_first_though_they_were_given_back_last(open_queue):
    queue = open_queue()
    queue.send([str(number) for number in range(5)])
    queue.set_visibility(queue.receive(2, 0), 0)
    assert [delivery.body for delivery in queue.receive(3, 0)] == ["0", "1", "2"]


def test_a_receipt_is_good_until_the_next_receive(open_queue):
    """A worker that was slow, and not yet replaced, may still acknowledge."""
    now = count(1_000, 20).__next__
    queue = open_queue(uptime=Uptime(now, "boot"))
    queue.send(["slow"])
    deliveries = queue.receive(1, 0)
    assert queue.depth().in_flight == 1
    assert queue.depth().visible == 1
    queue.delete(deliveries)
    assert queue.depth().outstanding == 0


@pytest.mark.parametrize("off_s", [3600.0, -3600.0])
def test_a_process_whose_clock_is_off_hides_a_message_no_longer_than_another(open_queue, off_s):
    now = [1_000.0]
    uptime = Uptime(lambda: now[0], "boot")
    skewed = open_queue(clock=lambda: time.time() + off_s, uptime=uptime)
    right = open_queue(uptime=uptime)
    right.send(["one", "two"])
    skewed.set_visibility(skewed.receive(2, 0)[:1], 20)
    assert right.receive(2, 0) == []
    now[0] += 20
    assert [delivery.body for delivery in right.receive(2, 0)] == ["one"]
    now[0] += 10
    assert [delivery.body for delivery in right.receive(2, 0)] == ["two"]


def test_after_a_boot_nobody_holds_a_message_any_more(open_queue):
    before = open_queue(uptime=Uptime(lambda: 90_000.0, "first boot"), max_receives=1)
    before.send(["held"])
    before.receive(1, 0)
    before.close()
    after = open_queue(uptime=Uptime(lambda: 10.0, "second boot"), max_receives=2)
    assert [(one.body, one.receive_count) for one in after.receive(1, 0)] == [("held", 2)]
    after.close()
    again = open_queue(uptime=Uptime(lambda: 11.0, "second boot"), max_receives=2)
    assert again.receive(1, 0) == []


def test_fewer_receives_may_be_allowed_than_a_message_has_had(open_queue):
    queue = open_queue(max_receives=9)
    queue.send(["poison"])
    for _ in range(4):
        queue.set_visibility(queue.receive(1, 0), 0)
    stricter = open_queue(max_receives=2)
    assert stricter.receive(1, 0) == []
    assert stricter.depth().dead == 1


def test_dead_letters_know_of_those_that_no_receive_has_moved(open_queue):
    now = [1_000.0]
    queue = open_queue(max_receives=1, uptime=Uptime(lambda: now[0], "boot"))
    queue.send(["poison"])
    queue.receive(1, 0)
    now[0] += 31
    assert queue.depth().dead == 1
    assert [delivery.body for delivery in queue.dead_letters().receive(1, 0)] == ["poison"]


def test_names_of_dead_letters_are_kept_for_them(open_queue):
    with pytest.raises(ValueError, match="queue 'jobs-dead': names that end in -dead are reserved for dead letters"):
        open_queue("jobs-dead")
    with pytest.raises(ValueError, match="'jobs-dead' holds dead letters and has none of its own"):
        open_queue("jobs").dead_letters().dead_letters()


def test_a_closed_queue_opens_again(open_queue):
    queue = open_queue()
    queue.send(["one"])
    queue.close()
    queue.close()
    assert queue.depth().visible == 1


@pytest.mark.parametrize(
    ("statement", "places"),
    [
        ("READY", ""),
        ("BURY", ""),
        ("RETURN", ""),
        ("TAKE", ""),
        ("COUNTS", ""),
        ("DELETE", "(?, ?)"),
        ("HIDE", "(?, ?)"),
        ("EXHAUSTED", ""),
        ("UNSWEPT", ""),
        ("SWEPT", ""),
        ("MARK", "(?, ?)"),
    ],
)
def test_no_statement_walks_through_all_messages(path, open_queue, statement, places):
    plan = plan_of(path, open_queue, getattr(queue_statements, statement) + places)
    assert any("SEARCH messages USING" in step for step in plan), plan
    assert not any(step.startswith("SCAN messages") or "TEMP B-TREE" in step for step in plan), plan


@pytest.mark.parametrize("statement", ["PEEK", "PEEK_DEAD"])
def test_a_page_reads_itself_and_what_is_in_flight(path, open_queue, statement):
    plan = plan_of(path, open_queue, getattr(queue_statements, statement))
    assert not any(step.startswith("SCAN messages") for step in plan), plan
    assert "SEARCH messages USING INDEX messages_waiting (queue=? AND rowid>?)" in plan
    assert not any("PRIMARY KEY" in step for step in plan), plan


def plan_of(path, open_queue, sql: str) -> list[str]:
    open_queue().send(["x"])
    names = dict.fromkeys(("name", "dead", "now", "max", "after", "limit"), 0)
    connection = sqlite3.connect(path)
    values = names if ":name" in sql else [0] * sql.count("?")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    connection.close()
    return plan


def test_threads_that_send_at_the_same_time_lose_nothing_when_their_process_is_killed(path, open_queue, python):
    script = (
        _OPEN
        + """
import os, threading

def send(thread):
    for number in range(1 << 30):
        body = f"{sys.argv[3]}-{thread}-{number}"
        queue.send([body])
        os.write(1, f"{body}\\n".encode())

for thread in range(8):
    threading.Thread(target=send, args=(thread,)).start()
"""
    )
    senders = [python(script, path, 30, name) for name in "xy"]
    sent: list[str] = []
    for sender in senders:
        sent += [sender.stdout.readline().strip() for _ in range(100)]
    for sender in senders:
        sender.kill()
        sent += sender.stdout.read().split("\n")[:-1]
    queue = open_queue()
    found: list[str] = []
    while deliveries := queue.receive(1000, 0):
        found += [delivery.body for delivery in deliveries]
        queue.delete(deliveries)
    assert len(found) == len(set(found))
    assert set(sent) <= set(found)
