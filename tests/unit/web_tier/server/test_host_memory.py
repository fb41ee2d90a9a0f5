"""Memory that processes share: real processes, some of which are killed at the worst moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context

import pytest

from web_tier.server.host_memory import SLOTS, HostMemory, Record, Seats
from web_tier.server.host_tables import AddressCounts

FORK = get_context("fork")


@pytest.fixture
def memory() -> HostMemory:
    return HostMemory(2)


@contextmanager
def process(memory: HostMemory, slot: int, work: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Run `work` in another process, which then stays until it is killed; what is yielded kills it."""
    here, there = FORK.Pipe()

    def run() -> None:
        memory.enter(slot)
        there.send(work())
        signal.pause()

    child = FORK.Process(target=run)
    child.start()
    try:
        assert here.poll(60), "the other process failed"

        def kill() -> None:
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()

        yield kill
    finally:
        child.kill()
        child.join()


def test_a_killed_process_leaves_no_lock_taken(memory):
    lock = memory.lock()
    with process(memory, 1, lock.acquire) as kill:
        assert not lock.acquire(0)
        assert not lock.acquire(0.01)
        kill()
        assert lock.acquire(60)
    lock.release()


def test_a_lock_excludes_threads_and_gives_up_in_time(memory):
    lock = memory.lock()
    got = []
    with lock:
        thread = threading.Thread(target=lambda: got.append(lock.acquire(0)))
        thread.start()
        thread.join()
    assert got == [False]
    with lock:
        pass


def test_seats_are_for_all_processes_and_come_back_from_a_killed_one(memory):
    seats = Seats(3, memory)
    with process(memory, 1, lambda: seats.take() and seats.take()) as kill:
        assert seats.take()
        assert not seats.take()
        seats.give_back()
        kill()
    assert seats.take()
    assert not seats.take(), "those of the dead process come back when the arbiter has noticed"
    memory.clear(1)
    assert seats.take()
    assert seats.take()
    assert not seats.take()


def test_a_record_is_exchanged(memory):
    record: Record[dict[str, int]] = Record(memory)
    assert record.load() is None
    record.store({"a": 1})

    def change() -> None:
        with record.lock:
            record.store((record.load() or {}) | {"b": 2})

    with process(memory, 1, change):
        with record.lock:
            assert record.load() == {"a": 1, "b": 2}
        record.store({"c": 3})
    with record.lock:
        assert record.load() == {"c": 3}


def test_a_process_killed_while_it_stores_leaves_the_record_as_it_was(memory, monkeypatch):
    record: Record[list[int]] = Record(memory)
    record.store(list(range(1000)))

    def write_half(file: int, data: bytes) -> None:
        os.pwrite(file, data[: len(data) // 2], 0)
        raise SystemExit

    def die() -> None:
        monkeypatch.setattr("web_tier.server.host_memory._write", write_half)
        with record.lock, pytest.raises(SystemExit):
            record.store([0] * 5000)
        record.lock.acquire()

    with process(memory, 1, die) as kill:
        kill()
    with record.lock:
        assert record.load() == list(range(1000))
        record.store([7])
        assert record.load() == [7]


def test_counts_by_address_are_summed_over_the_other_processes(memory):
    counts = AddressCounts(memory)
    with process(memory, 1, lambda: counts.surpluses({"a": 60, "b": 70}, 100)) as kill:
        assert counts.surpluses({"a": 60, "c": 90}, 100) == {"a": 10}
        assert counts.surpluses({"a": 40, "b": 130}, 100) == {"b": 65}
        kill()
    memory.clear(1)
    assert counts.surpluses({"a": 60, "b": 101}, 100) == {"b": 1}


def test_of_very_many_addresses_those_with_most_connections_are_published(memory):
    counts = AddressCounts(memory)
    many = {f"192.0.{number // 250}.{number % 250}": 1 for number in range(2000)} | {"greedy": 2}
    counts.surpluses(many, 2)
    memory.enter(SLOTS - 1)
    assert counts.surpluses({"greedy": 1}, 2) == {"greedy": 1}


def test_alone_nothing_leaves_the_process():
    memory = HostMemory()
    record: Record[object] = Record(memory)
    thing = object()
    record.store(thing)
    assert record.load() is thing
    assert AddressCounts(memory).surpluses({"a": 3, "b": 2}, 2) == {"a": 1}


def test_what_is_divided_is_rounded_up():
    assert [HostMemory(3).share(total) for total in (1, 3, 128)] == [1, 1, 43]
