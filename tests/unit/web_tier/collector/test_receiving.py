"""Groups of results: filled while results come quickly, prompt at the end of a batch, and few requests while idle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from core.domain.messages import Result, encode_output
from core.errors import Unavailable
from core.storage.memory_queue import MemoryQueue, MemoryQueues
from core.storage.ports import Delivery
from web_tier.collector.collector import Collector
from web_tier.collector.receiving import GROUP, ResultReceiver

NEVER = threading.Event()


def result(number: int, batch: str = "b") -> str:
    return encode_output(Result(batch_id=batch, image_id=f"i{number}", name="n", tagger="t@1"), "results/b/i.json")


class Time:
    """A clock that each look at it moves on."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self._step = step

    def __call__(self) -> float:
        self.now += self._step
        return self.now


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueues(visibility_timeout_s=30, max_receives=3).open("results")


class Arriving:
    """A queue into which results come while it is asked: `coming` are the groups of each request."""

    per_request = 1

    def __init__(self, *coming: int) -> None:
        self._coming = iter(coming)
        self.receives = 0
        self._made = 0

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        self.receives += 1
        count = min(limit, next(self._coming, 0))
        self._made += count
        return [Delivery(result(self._made + number), f"{self._made + number}", 1, 0.0) for number in range(count)]


def test_a_first_result_and_single_ones_do_not_wait_for_others():
    arriving = Arriving(1, 1, 3, 1)
    receiver = ResultReceiver(arriving, lambda _: False, Time())
    assert [len(receiver.receive(NEVER, 1.0)) for _ in range(4)] == [1, 1, 3, 1]
    assert arriving.receives == 4


def test_a_group_is_filled_while_results_come_quickly():
    arriving = Arriving(8, 8, 0, 8, 8, *[0] * 50)
    receiver = ResultReceiver(arriving, lambda _: False, Time(step=0.06))
    assert len(receiver.receive(NEVER, 1.0)) == 8
    assert len(receiver.receive(NEVER, 1.0)) == 24
    assert arriving.receives == 6, "only for a quarter of a second"


def test_a_full_group_is_given_out():
    receiver = ResultReceiver(Arriving(8, *[40] * 9), lambda _: False, Time())
    assert [len(receiver.receive(NEVER, 1.0)) for _ in range(2)] == [8, GROUP]


def test_a_group_that_completes_a_batch_does_not_wait():
    arriving = Arriving(8, 8, 4, 9)
    asked: list[dict[str, int]] = []

    def completes(counts) -> bool:
        asked.append(dict(counts))
        return counts["b"] == 12

    receiver = ResultReceiver(arriving, completes, Time())
    assert [len(receiver.receive(NEVER, 1.0)) for _ in range(2)] == [8, 12]
    assert asked == [{"b": 8}, {"b": 12}]


def test_a_stop_ends_the_filling():
    stop = threading.Event()
    stop.set()
    receiver = ResultReceiver(Arriving(8, 8, 8), lambda _: False, Time())
    assert [len(receiver.receive(stop, 1.0)) for _ in range(2)] == [8, 8]


class Paid:
    """A queue whose requests cost money: each empty one takes as long as it may wait."""

    per_request = 10

    def __init__(self, moment: Time, at_request: Callable[[int], None]) -> None:
        self.waits: list[float] = []
        self._time = moment
        self._at_request = at_request

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        self.waits.append(wait_s)
        self._time.now += wait_s
        self._at_request(len(self.waits))
        return []


def test_an_idle_minute_costs_few_receives_and_delays_no_sweep(web, monkeypatch):
    """Of a queue like SQS: before, a minute cost sixty."""
    moment, stop = Time(), threading.Event()
    paid = Paid(moment, lambda _: moment.now >= 60 and stop.set())
    backend = web.backend
    monkeypatch.setitem(vars(backend), "results", paid)
    sweeps: list[float] = []
    collector = Collector(backend, web.catalog, web.settings, web.clock, monotonic=moment)
    monkeypatch.setattr(collector, "_sweep", lambda: sweeps.append(moment.now))
    collector.run(stop)
    assert web.settings.collector.sweep_s == 10.0
    assert len([wait for wait in paid.waits if wait]) == 6
    assert sweeps == [0, 10, 20, 30, 40, 50, 60]


def test_a_long_wait_ends_when_the_collector_is_stopped_and_what_comes_later_is_released(queue):
    asked, answer, stop = threading.Event(), threading.Event(), threading.Event()

    class Slow:
        per_request = 10
        set_visibility = queue.set_visibility

        def receive(self, limit: int, wait_s: float) -> list[Delivery]:
            asked.set()
            answer.wait(60)
            return queue.receive(limit, 0)

    groups: list[list] = []
    receiver = ResultReceiver(Slow(), lambda _: False)
    thread = threading.Thread(target=lambda: groups.append(receiver.receive(stop, 20.0)))
    thread.start()
    assert asked.wait(60)
    stop.set()
    thread.join(60)
    assert groups == [[]]
    queue.send([result(1)])
    answer.set()
    deadline = time.monotonic() + 60
    while queue.depth().visible != 1 or queue.peek(1)[0].receive_count != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_long_wait_raises_what_the_queue_raises():
    class Away:
        per_request = 10

        def receive(self, limit: int, wait_s: float) -> list[Delivery]:
            raise Unavailable("no answer")

    with pytest.raises(Unavailable, match="no answer"):
        ResultReceiver(Away(), lambda _: False).receive(NEVER, 20.0)


def test_the_catalogue_tells_which_results_complete_a_batch(web):
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"1"), ("b.jpg", b"2"), ("c.jpg", b"3"))
    first, *_ = web.jobs()
    assert [web.catalog.would_complete({batch: count, "unknown": 9}) for count in (2, 3)] == [False, True]
    web.finish(web.result_of(first))
    web.collect()
    assert web.catalog.would_complete({batch: 2})
