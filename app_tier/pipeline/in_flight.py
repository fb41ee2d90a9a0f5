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
from dataclasses import dataclass

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Delivery, Queue


@dataclass(slots=True)
class _Message:
    delivery: Delivery
    extended_at: float
    is_suspect: bool = False


class InFlight:
    """Safe for several threads. `clock` is monotonic; `limit` is the most messages that are not finished."""

    def __init__(self, queue: Queue, *, limit: int, visibility_timeout_s: float, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._limit = limit
        self._timeout_s = visibility_timeout_s
        self._clock = clock
        self._messages: dict[str, _Message] = {}  # by receipt
        self._finished: set[str] = set()  # receipts
        self._changed = threading.Condition()
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
    def unsuspected(self) -> int:
        """The number of messages that are not suspects."""
        with self._changed:
            return sum(not message.is_suspect for message in self._messages.values())

    @property
    def unfinished(self) -> int:
        """The number of messages that are neither finished nor suspects: their results will come soon."""
        with self._changed:
            return sum(
                not message.is_suspect and receipt not in self._finished for receipt, message in self._messages.items()
            )

    def has_redelivered(self, receives: int) -> bool:
        """Return whether a message that is not a suspect has been received at least this often."""
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

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Add messages that were just received."""
        now = self._clock()
        with self._changed:
            if deliveries:
                self._busy.start()
            self._messages.update((delivery.receipt, _Message(delivery, now)) for delivery in deliveries)

    def mark_suspect(self, delivery: Delivery) -> None:
        """Count the message as a suspect from now on."""
        with self._changed:
            if message := self._messages.get(delivery.receipt):
                message.is_suspect = True
            self._changed.notify_all()

    def mark_finished(self, deliveries: Sequence[Delivery]) -> None:
        """Make room for other messages: these have their results, which wait to be written."""
        with self._changed:
            self._finished.update(it.receipt for it in deliveries if it.receipt in self._messages)
            self._changed.notify_all()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages from the queue. Raises Unavailable; they are in flight still."""
        self._queue.delete(deliveries)
        self._forget(deliveries)

    def release(self, deliveries: Sequence[Delivery], delay_s: float = 0.0) -> None:
        """Make the messages visible to other workers after `delay_s`.

        If the queue does not answer, their visibility timeout does the same later.
        """
        self._forget(deliveries)
        try:
            self._queue.set_visibility(deliveries, delay_s)
        except Unavailable as error:
            telemetry.logger().warning(
                "messages are not released: their timeout will do it", count=len(deliveries), why=str(error)
            )

    def release_all(self) -> None:
        """Release every message."""
        self.release([message.delivery for message in list(self._messages.values())])

    # --- waiting ------------------------------------------------------------------------------

    def wait_for_room(self, at_least: int, timeout_s: float) -> int:
        """Wait until `at_least` more messages fit, or for `timeout_s`. Return how many fit."""
        with self._changed:
            self._changed.wait_for(lambda: self._room() >= at_least, timeout_s)
            return max(0, self._room())

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a message is finished or marked, or for `timeout_s`."""
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until_only_suspects(self, timeout_s: float) -> bool:
        """Wait until only suspects are in flight. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(message.is_suspect for message in self._messages.values()), timeout_s
            )

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages, timeout_s)

    def _room(self) -> int:
        return self._limit - len(self._messages) + len(self._finished)

    def _forget(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                self._messages.pop(delivery.receipt, None)
                self._finished.discard(delivery.receipt)
            if not self._messages:
                self._busy.stop()
            self._changed.notify_all()

    def _extend_visibility(self) -> None:
        while not self._closed.wait(self._timeout_s / 6):
            now = self._clock()
            with self._changed:
                due = [
                    message.delivery
                    for message in self._messages.values()
                    if now - message.extended_at >= self._timeout_s / 3
                ]
            try:
                if due:
                    self._queue.set_visibility(due, self._timeout_s)
            except Unavailable as error:
                telemetry.logger().warning("visibility timeouts are not extended: tried again", why=str(error))
                continue
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
