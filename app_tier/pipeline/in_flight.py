"""The messages this worker has in flight: their room, their visibility heartbeats, the time spent with any in hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Delivery, Queue


class Held:
    """Everything received and neither acknowledged nor given back, prefetched messages too.

    Each is hidden for one visibility timeout more, counted from then, whenever a third of one has passed since it
    came or was hidden last: a crash hides nothing for longer than that, however long the messages had been held, and
    most are done before they cost a heartbeat.
    """

    def __init__(self, queue: Queue, *, limit: int, visibility_timeout_s: float, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._limit = limit
        self._timeout_s = visibility_timeout_s
        self._clock = clock
        self._held: dict[str, Delivery] = {}
        self._hidden_at: dict[str, float] = {}
        self._aside: set[str] = set()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._busy_since: float | None = None
        self._busy_seconds = 0.0
        self._heart = threading.Thread(target=self._beat, name="visibility", daemon=True)

    def start(self) -> None:
        self._heart.start()

    def close(self) -> None:
        self._closed.set()
        self._heart.join()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def innocent(self) -> int:
        """How many are held that no decoder was lost to."""
        return len(self._held) - len(self._aside)

    def holds_returned(self, receives: int) -> bool:
        """Whether an innocent one has been received so often: whatever ends this worker costs it one more delivery."""
        with self._changed:
            return any(it.receive_count >= receives and id_ not in self._aside for id_, it in self._held.items())

    def set_aside(self, delivery: Delivery) -> None:
        """Count it no longer among the innocent; it keeps its room and its heartbeat."""
        with self._changed:
            if delivery.receipt in self._held:
                self._aside.add(delivery.receipt)
            self._changed.notify_all()

    def holds(self, delivery: Delivery) -> bool:
        return delivery.receipt in self._held

    def wait_for_change(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until_innocent_are_done(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._held) <= len(self._aside), timeout_s)

    def wait_for_room(self, at_least: int, timeout_s: float) -> int:
        """How many more messages fit; waits for `at_least`, at most `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._limit - len(self._held) >= at_least, timeout_s)
            return self._limit - len(self._held)

    def wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._held, timeout_s)

    def add(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            if not self._held:
                self._busy_since = self._clock()
            self._held.update((delivery.receipt, delivery) for delivery in deliveries)
            self._hidden_at.update((delivery.receipt, self._clock()) for delivery in deliveries)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages from the queue: their results are safe. Raises Unavailable, and holds them still."""
        self._queue.delete(deliveries)
        self._forget(deliveries)

    def give_back(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """Let others have the messages, after `delay_s`. If the queue can't be told, the timeout tells it."""
        self._forget(deliveries)
        try:
            self._queue.set_visibility(deliveries, delay_s)
        except Unavailable as error:
            telemetry.logger().warning(
                "messages not given back, their timeout will", count=len(deliveries), why=str(error)
            )

    def give_all_back(self) -> None:
        self.give_back(list(self._held.values()))

    def busy_seconds(self) -> float:
        """Time with at least one message held, since the start."""
        with self._changed:
            running = 0.0 if self._busy_since is None else self._clock() - self._busy_since
            return self._busy_seconds + running

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                self._held.pop(delivery.receipt, None)
                self._hidden_at.pop(delivery.receipt, None)
                self._aside.discard(delivery.receipt)
            if not self._held and self._busy_since is not None:
                self._busy_seconds += self._clock() - self._busy_since
                self._busy_since = None
            self._changed.notify_all()

    def _beat(self) -> None:
        while not self._closed.wait(self._timeout_s / 6):
            now = self._clock()
            with self._changed:
                due = [
                    self._held[it]
                    for it, hidden_at in self._hidden_at.items()
                    if now - hidden_at >= self._timeout_s / 3
                ]
            try:
                if due:
                    self._queue.set_visibility(due, self._timeout_s)
            except Unavailable as error:
                telemetry.logger().warning("heartbeat of held messages failed, tried again", why=str(error))
                continue
            with self._changed:
                self._hidden_at.update((delivery.receipt, now) for delivery in due if delivery.receipt in self._held)
