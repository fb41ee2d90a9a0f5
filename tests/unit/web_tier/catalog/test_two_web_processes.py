"""Two web processes that write to one SQLite file without end: each gets its part of the turns."""

from __future__ import annotations

import os
import threading
from multiprocessing import get_context

from sqlalchemy import URL, Connection, text

from tests.unit.web_tier.processes import wait_for
from web_tier.catalog.database import Database, catalog_url, migrate
from web_tier.server.host_memory import HostMemory, Tally

_WRITE = text("INSERT OR REPLACE INTO samples (slot, at, sample) VALUES (:slot, 0.0, '{}')")
_THREADS = 8


def write_until_ended(url: URL, memory: HostMemory, slot: int, done: Tally, end: Tally) -> None:
    memory.enter(slot)
    database, counting = Database(url), threading.Lock()

    def write(connection: Connection) -> None:
        connection.execute(_WRITE, {"slot": slot})

    def run() -> None:
        while not end.total:
            database.write(write)
            with counting:
                done.own += 1

    threads = [threading.Thread(target=run) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os._exit(0)


def test_both_progress_at_a_similar_pace(settings):
    url = catalog_url(settings)
    migrate(url)
    memory = HostMemory(2)
    done, end = memory.tally(), memory.tally()
    fork = get_context("fork")
    processes = [fork.Process(target=write_until_ended, args=(url, memory, slot, done, end)) for slot in (1, 2)]
    for process in processes:
        process.start()
    try:
        wait_for(lambda: min(done.of(1), done.of(2)) > 0)
        before = done.of(1), done.of(2)
        wait_for(lambda: done.total - sum(before) >= 2000)
        first, second = done.of(1) - before[0], done.of(2) - before[1]
        end.own = 1
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert min(first, second) >= 200, (first, second)
