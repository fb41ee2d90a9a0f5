"""The messages that this worker has received and not finished: their limit, their visibility, and its busy time.

1. A message is in flight until it is acknowledged (deleted from the queue) or released (visible to others again).
2. A thread extends a message's visibility timeout whenever a third of it has passed since the message came or was
   last extended. So a crash hides no message for longer than one timeout, and most messages are done before their
   first extension, which is a request.
3. Suspects are messages whose images may crash a decoder or the tagger. They count toward the limit; `unsuspected`
   counts the others, which would lose a delivery if this worker crashed.
4. Finished messages have a result that waits to be written. They are in flight, and do not count toward the limit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Delivery, Queue

_EXTENDED_TOGETHER = 50
"""Messages whose visibility one thread extends: five requests to SQS, a sixth of a second."""
_EXTENDERS = 8


@dataclass(slots=True)
class _Message:
    delivery: Delivery
    extended_at: float
    is_suspect: bool = False
    is_finished: bool = False


@dataclass(slots=True)
class _Counts:
    """How many messages are of each kind."""

    redelivered: int = 0
    suspects: int = 0
    finished: int = 0
    unfinished: int = 0
    """Neither finished nor suspects."""
    releasing: int = 0
    """Not in flight any more, and not visible to other workers yet."""

    def count(self, message: _Message, by: int) -> None:
        self.redelivered += by * (message.delivery.receive_count > 1)
        self.suspects += by * message.is_suspect
        self.finished += by * message.is_finished
        self.unfinished += by * (not message.is_suspect and not message.is_finished)


class InFlight:
    """Safe for several threads. `clock` is monotonic; `limit` is the most messages that are not finished.

    Room for messages is reserved before they are received, and counts as taken until `add`.
    """

    def __init__(self, queue: Queue, *, limit: int, visibility_timeout_s: float, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._limit = limit
        self._timeout_s = visibility_timeout_s
        self._clock = clock
        self._messages: dict[str, _Message] = {}  # by receipt
        self._reserved = 0
        self._awaited = 1
        """The room that those in `reserve` wait for."""
        self._counts = _Counts()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._room_made = threading.Condition(self._lock)
        self._busy = _Stopwatch(clock)
        self._closed = threading.Event()
        self._extender = threading.Thread(target=self._extend_visibility, name="visibility", daemon=True)

    def start(self) -> None:
        """Start extending visibility timeouts."""
        self._extender.start()

    def close(self) -> None:
        """Stop extending visibility timeouts."""
        self._closed.set()
        self._extender.join()

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, delivery: Delivery) -> bool:
        return delivery.receipt in self._messages

    @property
    def limit(self) -> int:
        """The most messages. If it shrinks, those in flight stay."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        if limit == self._limit:
            return
        with self._lock:
            self._limit = limit
            self._room_made.notify_all()

    @property
    def room(self) -> int:
        """How many more messages fit, beside those that are reserved for."""
        return self._limit - len(self._messages) + self._counts.finished - self._reserved

    @property
    def unsuspected(self) -> int:
        """The number of messages that are not suspects."""
        with self._changed:
            return len(self._messages) - self._counts.suspects

    @property
    def unfinished(self) -> int:
        """The number of messages that are neither finished nor suspects: their results will come soon."""
        return self._counts.unfinished

    def has_redelivered(self, receives: int) -> bool:
        """Return whether a message that is not a suspect has been received at least this often, 2 or more."""
        if not self._counts.redelivered:
            return False
        with self._changed:
            return any(
                message.delivery.receive_count >= receives and not message.is_suspect
                for message in self._messages.values()
            )

    def busy_seconds(self) -> float:
        """Return the time with at least one message in flight, since the start."""
        with self._changed:
            return self._busy.seconds()

    # --- changes ------------------------------------------------------------------------------

    def reserve(self, at_least: int, at_most: int, timeout_s: float) -> int:
        """Wait until `at_least` more messages fit, or for `timeout_s`. Reserve up to `at_most`; return how many."""
        with self._lock:
            self._awaited = at_least
            self._room_made.wait_for(lambda: self.room >= at_least, timeout_s)
            reserved = max(0, min(self.room, at_most))
            self._reserved += reserved
            self._notify_of_room()  # there may be enough for another that waits
            return reserved

    def add(self, deliveries: Sequence[Delivery], reserved: int = 0) -> None:
        """Add messages that were just received, and give back what was reserved for them."""
        now = self._clock()
        with self._changed:
            self._reserved -= reserved
            if deliveries:
                self._busy.start()
            for delivery in deliveries:
                message = self._messages[delivery.receipt] = _Message(delivery, now)
                self._counts.count(message, 1)
            self._notify_of_room()

    def mark_suspect(self, delivery: Delivery) -> None:
        """Count the message as a suspect from now on."""
        with self._changed:
            if message := self._messages.get(delivery.receipt):
                self._counts.count(message, -1)
                message.is_suspect = True
                self._counts.count(message, 1)
            self._changed.notify_all()

    def mark_finished(self, deliveries: Sequence[Delivery]) -> None:
        """Make room for other messages: these have their results, which wait to be written."""
        with self._changed:
            for delivery in deliveries:
                if message := self._messages.get(delivery.receipt):
                    self._counts.count(message, -1)
                    message.is_finished = True
                    self._counts.count(message, 1)
            self._notify_of_room()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages from the queue. Raises Unavailable; they are in flight still."""
        self._queue.delete(deliveries)
        self._forget(deliveries)

    def release(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """Make the messages visible to other workers after `delay_s`.

        If the queue does not answer, their visibility timeout does the same later.
        """
        with self._changed:
            self._counts.releasing += len(deliveries)
        self._forget(deliveries)  # first, so that nobody extends their timeouts afterwards
        try:
            self._queue.set_visibility(deliveries, delay_s)
        except Unavailable as error:
            telemetry.logger().warning(
                "messages are not released: their timeout will do it", count=len(deliveries), why=str(error)
            )
        finally:
            with self._changed:
                self._counts.releasing -= len(deliveries)
                self._changed.notify_all()

    def release_all(self) -> None:
        """Release every message."""
        self.release([message.delivery for message in list(self._messages.values())])

    # --- waiting ------------------------------------------------------------------------------

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a message is finished or marked, or for `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until_only_suspects(self, timeout_s: float) -> bool:
        """Wait until only suspects are in flight. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._messages) == self._counts.suspects, timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight, and all releases are done. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages and not self._counts.releasing, timeout_s)

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                if message := self._messages.pop(delivery.receipt, None):
                    self._counts.count(message, -1)
            if not self._messages:
                self._busy.stop()
            self._notify_of_room()
            self._changed.notify_all()

    def _notify_of_room(self) -> None:
        if self.room >= self._awaited:
            self._room_made.notify()

    def _extend_visibility(self) -> None:
        while not self._closed.wait(self._timeout_s / 6):
            now = self._clock()
            with self._changed:
                due = [
                    message.delivery
                    for message in self._messages.values()
                    if now - message.extended_at >= self._timeout_s / 3
                ]
            groups = [due[start : start + _EXTENDED_TOGETHER] for start in range(0, len(due), _EXTENDED_TOGETHER)]
            if len(groups) <= 1:
                for group in groups:
                    self._extend(group, now)
                continue
            with ThreadPoolExecutor(min(_EXTENDERS, len(groups)), thread_name_prefix="visibility") as pool:
                list(pool.map(self._extend, groups, repeat(now)))

    def _extend(self, due: Sequence[Delivery], now: float) -> None:
        try:
            self._queue.set_visibility(due, self._timeout_s)
        except Unavailable as error:
            telemetry.logger().warning("visibility timeouts are not extended: tried again", why=str(error))
            return
        with self._changed:
            for delivery in due:
                if message := self._messages.get(delivery.receipt):
                    message.extended_at = now


class _Stopwatch:
    """Sums the time between `start` and `stop`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: float | None = None
        self._before = 0.0

    def start(self) -> None:
        if self._since is None:
            self._since = self._clock()

    def stop(self) -> None:
        self._before, self._since = self.seconds(), None

    def seconds(self) -> float:
        return self._before + (0.0 if self._since is None else self._clock() - self._since)
