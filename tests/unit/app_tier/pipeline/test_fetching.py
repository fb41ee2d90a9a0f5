"""Workers rarely ask whether a batch was cancelled, and go on if the store does not answer."""

from __future__ import annotations

from app_tier.pipeline.fetching import Cancellations
from core.errors import NotFound, Unavailable
from core.storage import layout


class Marks:
    """A store with the marks of cancelled batches, which counts requests."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.asked = 0
        self.away = False

    def get(self, key: str, admit: object = None) -> object:
        self.asked += 1
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


def test_without_the_store_nothing_is_dropped():
    store = Marks()
    store.away = True
    assert not Cancellations(store, lambda: 0.0).is_cancelled("bat_1")  # type: ignore[arg-type]


def test_it_remembers_a_bounded_number_of_batches():
    cancellations = Cancellations(Marks(), lambda: 0.0)  # type: ignore[arg-type]
    for number in range(2500):
        cancellations.is_cancelled(f"bat_{number}")
    assert len(cancellations) <= 1000
