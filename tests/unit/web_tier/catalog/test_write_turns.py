"""Turns to write: threads in order, processes by chance, and what is reported when it takes too long."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from core.errors import Unavailable
from web_tier.catalog import sqlite as database_sqlite
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.catalog.sqlite import WriterBusy, WriteTurns, begin_immediate, turns_at

_COUNT = text("SELECT count(*) FROM samples")


@pytest.fixture
def url(settings):
    url = catalog_url(settings)
    migrate(url)
    return url


@pytest.fixture
def database(url):
    database = Database(url)
    yield database
    database.close()


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.001)


def test_turns_come_in_the_order_in_which_they_were_asked_for():
    turns = WriteTurns()
    order: list[int] = []

    def write(number: int) -> None:
        with turns.turn(120):
            order.append(number)

    threads = []
    with turns.turn(120):
        for number in range(20):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            until(lambda number=number: turns.waiting == number + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_a_writer_who_comes_back_at_once_goes_behind_those_who_wait():
    """Whoever holds the turn and wants it again must not get past the queue."""
    turns = WriteTurns()
    order: list[str] = []

    def wait() -> None:
        with turns.turn(120):
            order.append("waiter")

    with turns.turn(120):
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: turns.waiting == 1)
    with turns.turn(120):
        order.append("again")
    thread.join()
    assert order == ["waiter", "again"]


def test_a_writer_that_gave_up_holds_nobody_up():
    turns = WriteTurns()
    with turns.turn(120):
        with pytest.raises(WriterBusy), turns.turn(0.001):
            pass
        assert turns.waiting == 0
    with turns.turn(0.001):
        pass


def test_a_turn_ends_with_an_error_too():
    turns = WriteTurns()
    with pytest.raises(ZeroDivisionError), turns.turn(1):
        raise ZeroDivisionError
    with turns.turn(0.001):
        pass


def test_who_waited_in_vain_is_told_what_this_process_did():
    now = [100.0]
    turns = WriteTurns(lambda: now[0])
    with turns.turn(1):
        now[0] += 10
        with pytest.raises(WriterBusy, match=r"this server began 10 s ago is still being written"), turns.turn(0.01):
            pass
    with turns.turn(1), pytest.raises(WriterBusy, match="1 other changes of this server"), turns.turn(0.01):
        pass


def test_all_databases_of_one_process_share_their_turns(url, database, monkeypatch):
    monkeypatch.setattr(database_sqlite, "_BUSY_S", 0.05)
    other = Database(url)
    with database.writing(), pytest.raises(Unavailable, match="this server") as refused, other.writing():
        pass
    assert "process" not in str(refused.value), "no other process has anything to do with it"
    other.close()


def test_another_process_is_named_only_where_there_is_one(settings, database, monkeypatch):
    monkeypatch.setattr(database_sqlite, "_BUSY_S", 0.05)
    with holding(settings.home / "catalog.db"), pytest.raises(Unavailable, match="another process"), database.writing():
        pass
    with database.writing() as connection:
        assert connection.execute(_COUNT).scalar_one() == 0


def test_a_writer_gets_in_while_another_process_writes_without_end(settings, database):
    """It rests for as long as each of its transactions took; SQLite's own waits would sleep past that."""
    script = (
        "import sqlite3, sys, time\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n"
        "print('up', flush=True)\n"
        "while True:\n"
        "    db.execute('BEGIN IMMEDIATE'); began = time.monotonic(); time.sleep(0.01)\n"
        "    db.execute('COMMIT'); time.sleep(time.monotonic() - began)\n"
    )
    command = [sys.executable, "-c", script, str(settings.home / "catalog.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            for _ in range(20):
                with database.writing() as connection:
                    connection.execute(_COUNT)
        finally:
            process.kill()


def test_a_file_that_is_no_database_is_said_to_be_none(settings, database):
    database.close()
    for path in settings.home.glob("catalog.db*"):
        path.write_bytes(b"not a database, " * 100)
    with pytest.raises(Unavailable, match="not a SQLite database"), database.writing():
        pass


def test_a_transaction_that_need_not_last_is_flushed_later(database):
    for durable, level in ((True, 2), (False, 1), (True, 2)):
        with database.writing(durable=durable) as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == level


def test_the_turns_at_a_file_are_one(tmp_path):
    assert turns_at(str(tmp_path / "a")) is turns_at(str(tmp_path / "a"))
    assert turns_at(str(tmp_path / "a")) is not turns_at(str(tmp_path / "b"))


def test_a_connection_waits_for_readers_locks_as_before(tmp_path):
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as connection:
        begin_immediate(connection, 7.0)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (7000,)
        connection.execute("ROLLBACK")
    connection.close()


class holding:  # noqa: N801  # reads as a word
    """Another process holds the file's lock for this block."""

    def __init__(self, path: Path) -> None:
        script = (
            "import sqlite3, sys\n"
            "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "db.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> None:
        assert re.match("held", self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
