"""Requests for messages: several at once while there is much to get, one while there is little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from app_tier.pipeline.flow import Flow
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.receiving import Receiving
from bench.deployment import wait_until
from core.storage.memory_queue import MemoryQueue, MemoryQueues
from core.storage.ports import Delivery


class TenAtOnce(MemoryQueue):
    """A queue whose requests bring ten messages at most, and wait for `answer` if there is one.

    After the first, they wait until so many are under way `together`.
    """

    per_request = 10

    def __init__(self, queues: MemoryQueues) -> None:
        super().__init__("jobs", queues)
        self.asking = 0
        self.most_asking = 0
        self.together = 1
        self.answers: list[int] = []
        self.answer: threading.Event | None = None
        self._lock = threading.Lock()

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        with self._lock:
            self.asking += 1
            self.most_asking = max(self.most_asking, self.asking)
        if self.answer is not None:
            assert self.answer.wait(120)
        if self.answers:
            wait_until(lambda: self.most_asking >= self.together)
        found = super().receive(min(10, limit), wait_s)
        with self._lock:
            self.asking -= 1
            self.answers.append(len(found))
        return found


class World:
    def __init__(self, limit: int) -> None:
        self.queue = TenAtOnce(MemoryQueues(visibility_timeout_s=600, max_receives=3))
        self.flow = Flow(InFlight(self.queue, limit=limit, visibility_timeout_s=600, clock=time.monotonic))
        self.received: list[Delivery] = []
        self.receiving = Receiving(self.flow, self.queue, self._received)

    def _received(self, deliveries: Sequence[Delivery]) -> None:
        self.received += deliveries

    def finish(self, count: int) -> None:
        done, self.received = self.received[:count], self.received[count:]
        self.flow.in_flight.acknowledge(done)

    def has(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.received) == count


@pytest.fixture
def begin() -> Iterator[Callable[[int], World]]:
    worlds: list[World] = []

    def begin(limit: int) -> World:
        worlds.append(World(limit))
        return worlds[-1]

    yield begin
    for world in worlds:
        if world.queue.answer is not None:
            world.queue.answer.set()
        world.flow.draining.set()
        assert world.receiving.join(120)


def test_with_much_to_get_several_requests_are_under_way(begin: Callable[[int], World]) -> None:
    world = begin(1000)
    world.queue.send([str(number) for number in range(400)])
    world.queue.together = 2
    world.receiving.start()
    wait_until(world.has(400))
    assert sorted(int(delivery.body) for delivery in world.received) == list(range(400))


def test_together_they_never_bring_more_than_fits(begin: Callable[[int], World]) -> None:
    world = begin(95)
    world.queue.send(["x"] * 400)
    world.queue.answer = threading.Event()
    world.receiving.start()
    world.queue.answer.set()
    wait_until(lambda: len(world.received) >= 90)
    wait_until(lambda: world.queue.asking == 0)
    assert len(world.flow.in_flight) <= 95
    world.finish(60)
    wait_until(lambda: len(world.received) >= 80)
    assert len(world.flow.in_flight) <= 95


def test_each_request_is_filled_while_room_is_scarce(begin: Callable[[int], World]) -> None:
    world = begin(100)
    world.queue.send(["x"] * 300)
    world.receiving.start()
    for left in range(299, 199, -1):
        wait_until(lambda: len(world.received) > 0)
        world.finish(1)
        assert left
    assert set(world.queue.answers) <= {10}


def test_few_messages_cost_one_request_at_a_time(begin: Callable[[int], World]) -> None:
    world = begin(1000)
    world.receiving.start()
    for count in range(1, 6):
        world.queue.send(["x"])
        wait_until(world.has(count))
    assert world.queue.most_asking == 1
    assert world.receiving.count == 1


def test_after_a_backlog_one_thread_stays(begin: Callable[[int], World]) -> None:
    world = begin(1000)
    world.queue.send(["x"] * 300)
    world.receiving.start()
    wait_until(world.has(300))
    wait_until(lambda: world.receiving.count == 1)
    world.queue.send(["x"])
    wait_until(world.has(301))


def test_while_suspended_nothing_is_received(begin: Callable[[int], World]) -> None:
    world = begin(1000)
    world.receiving.start()
    with world.flow.receiving.suspended():
        assert world.queue.asking == 0
        world.queue.send(["x"] * 20)
        world.flow.receiving.open()  # another part of the worker
        time.sleep(0.3)  # longer than the pause of a receiver
        assert world.received == []
    wait_until(world.has(20))


def test_receives_under_way_end_soon_after_the_drain_request(begin: Callable[[int], World]) -> None:
    world = begin(1000)
    world.queue.send(["x"] * 200)
    world.queue.answer = threading.Event()
    world.receiving.start()
    wait_until(lambda: world.queue.asking == 1)
    world.flow.draining.set()
    assert not world.receiving.join(0.01)
    world.queue.answer.set()
    assert world.receiving.join(120)
    assert len(world.flow.in_flight) == len(world.received) <= 10


def test_messages_that_go_back_while_draining_are_not_received_again(begin: Callable[[int], World]) -> None:
    world = begin(10)
    world.queue.send(["x"] * 20)
    world.receiving.start()
    wait_until(world.has(10))
    world.flow.draining.set()
    world.flow.in_flight.release(world.received)
    assert world.receiving.join(120)
    assert len(world.received) == 10
    assert world.queue.depth().visible == 20
