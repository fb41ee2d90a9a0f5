"""Messages in flight: room, counts, and visibility for a thousand of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence

import pytest

from app_tier.pipeline.in_flight import InFlight
from bench.deployment import wait_until
from core.storage.memory_queue import MemoryQueue, MemoryQueues
from core.storage.ports import Delivery


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueues(visibility_timeout_s=600, max_receives=9).open("jobs")


@pytest.fixture
def in_flight(queue: MemoryQueue) -> InFlight:
    return InFlight(queue, limit=10, visibility_timeout_s=600, clock=time.monotonic)


def deliveries(count: int, receives: int = 1, first: int = 0) -> list[Delivery]:
    return [Delivery("x", f"{number}:1", receives, 0.0) for number in range(first, first + count)]


def test_reserved_room_counts_until_its_messages_are_added(in_flight: InFlight) -> None:
    assert in_flight.reserve(1, 6, 0) == 6
    assert in_flight.reserve(5, 9, 0) == 4
    assert in_flight.reserve(1, 1, 0) == 0
    in_flight.add(deliveries(2), reserved=6)
    assert in_flight.room == 4
    in_flight.add([], reserved=4)
    assert in_flight.room == 8


def test_a_finished_message_makes_room_and_is_in_flight(in_flight: InFlight) -> None:
    held = deliveries(10)
    in_flight.add(held)
    waiting: list[int] = []
    thread = threading.Thread(target=lambda: waiting.append(in_flight.reserve(3, 5, 120)))
    thread.start()
    in_flight.mark_finished(held[:2])
    in_flight.mark_finished(held[:3])
    thread.join(120)
    assert waiting == [3]
    assert (len(in_flight), in_flight.unfinished) == (10, 7)
    in_flight.acknowledge(held[:3])
    assert (len(in_flight), in_flight.unfinished, in_flight.room) == (7, 7, 0)


def test_suspects_and_redelivered_messages_are_counted(in_flight: InFlight) -> None:
    fresh, back = deliveries(2), deliveries(2, receives=3, first=2)
    in_flight.add(fresh + back)
    assert in_flight.has_redelivered(3)
    assert not in_flight.has_redelivered(4)
    for delivery in (back[0], back[0], back[1]):
        in_flight.mark_suspect(delivery)
    assert not in_flight.has_redelivered(2)
    assert (in_flight.unsuspected, in_flight.unfinished) == (2, 2)
    in_flight.mark_finished(back)
    assert in_flight.unfinished == 2
    in_flight.acknowledge(fresh)
    assert in_flight.wait_until_only_suspects(0)
    in_flight.acknowledge(back)
    assert (len(in_flight), in_flight.unsuspected, in_flight.unfinished) == (0, 0, 0)
    assert not in_flight.has_redelivered(2)


def test_a_larger_limit_lets_those_that_wait_in(in_flight: InFlight) -> None:
    in_flight.add(deliveries(10))
    waiting: list[int] = []
    thread = threading.Thread(target=lambda: waiting.append(in_flight.reserve(10, 10, 120)))
    thread.start()
    in_flight.limit = 20
    thread.join(120)
    assert waiting == [10]
    in_flight.limit = 5
    assert in_flight.reserve(1, 1, 0) == 0


class Slow(MemoryQueue):
    """The first four requests end once all of them are under way."""

    def __init__(self) -> None:
        super().__init__("jobs", MemoryQueues(visibility_timeout_s=600, max_receives=9))
        self.barrier = threading.Barrier(4, timeout=120)
        self.calls = itertools.count()
        self.extended: set[str] = set()

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        if next(self.calls) < 4:
            self.barrier.wait()
        self.extended |= {delivery.receipt for delivery in deliveries}


def test_many_messages_are_extended_by_several_requests_at_once() -> None:
    slow = Slow()
    now = [0.0]
    in_flight = InFlight(slow, limit=1000, visibility_timeout_s=0.06, clock=lambda: now[0])
    held = deliveries(1000)
    in_flight.add(held)
    in_flight.start()
    now[0] = 0.03
    wait_until(lambda: len(slow.extended) == 1000)
    in_flight.close()


def test_messages_that_are_being_released_are_waited_for(queue: MemoryQueue, in_flight: InFlight) -> None:
    """Until the queue has answered, no other worker can receive them."""
    asked, answer, set_visibility = threading.Event(), threading.Event(), queue.set_visibility

    def slow(messages: Sequence[Delivery], seconds: float) -> None:
        asked.set()
        assert answer.wait(120)
        set_visibility(messages, seconds)

    queue.set_visibility = slow  # type: ignore[method-assign]
    held = deliveries(2)
    in_flight.add(held)
    thread = threading.Thread(target=in_flight.release, args=(held,))
    thread.start()
    assert asked.wait(120)
    assert len(in_flight) == 0
    assert not in_flight.wait_until_empty(0)
    answer.set()
    assert in_flight.wait_until_empty(120)
    thread.join(120)
