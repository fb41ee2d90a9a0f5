"""Workers rarely ask whether a batch was cancelled, and go on if the store does not answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app_tier.pipeline.fetching import Cancellations
from bench.deployment import wait_until
from core.errors import NotFound, Unavailable
from core.storage import layout


class Marks:
    """A store with the marks of cancelled batches, which counts requests."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.asked = 0
        self.away = False
        self.answer = threading.Event()
        self.answer.set()

    def get(self, key: str, admit: object = None) -> object:
        self.asked += 1
        assert self.answer.wait(120)
        if self.away:
            raise Unavailable("the store does not answer")
        if key not in self.keys:
            raise NotFound(key)
        return object()


def test_a_cancellation_is_seen_within_seconds_and_asked_for_once():
    store, now = Marks(), [0.0]
    cancellations = Cancellations(store, lambda: now[0])  # type: ignore[arg-type]
    assert not any(cancellations.is_cancelled("bat_1") for _ in range(10))
    assert store.asked == 1
    store.keys.add(layout.cancelled_key("bat_1"))
    now[0] += 2.0
    assert all(cancellations.is_cancelled("bat_1") for _ in range(10))
    now[0] += 1000.0
    assert cancellations.is_cancelled("bat_1")
    assert store.asked == 2, "a batch stays cancelled"
    assert not cancellations.is_cancelled("bat_2")


def test_one_thread_asks_and_the_others_wait_only_for_the_first_answer():
    store, now = Marks(), [0.0]
    cancellations = Cancellations(store, lambda: now[0])  # type: ignore[arg-type]
    store.keys.add(layout.cancelled_key("bat_1"))
    store.answer.clear()
    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(cancellations.is_cancelled, "bat_1") for _ in range(8)]
        wait_until(lambda: store.asked == 1)
        store.answer.set()
        assert all(answer.result(120) for answer in first)
        assert store.asked == 1
        assert not cancellations.is_cancelled("bat_2")
        now[0] += 2.0
        store.answer.clear()
        asks = pool.submit(cancellations.is_cancelled, "bat_2")
        wait_until(lambda: store.asked == 3)
        assert not any(cancellations.is_cancelled("bat_2") for _ in range(8)), "the last answer, at once"
        store.answer.set()
        assert not asks.result(120)
    assert store.asked == 3


def test_without_the_store_nothing_is_dropped():
    store = Marks()
    store.away = True
    assert not Cancellations(store, lambda: 0.0).is_cancelled("bat_1")  # type: ignore[arg-type]


def test_it_remembers_a_bounded_number_of_batches():
    cancellations = Cancellations(Marks(), lambda: 0.0)  # type: ignore[arg-type]
    for number in range(2500):
        cancellations.is_cancelled(f"bat_{number}")
    assert len(cancellations) <= 1000
