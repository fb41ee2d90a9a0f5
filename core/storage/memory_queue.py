"""Queues in this process's memory, with SQS's semantics: for tests, and for simulated fleets in virtual time.

A message waits, or is in flight while `hidden_until` is in the future, or is a dead letter. As in SQS, the next receive
moves a message that was delivered too often to the dead letters.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.errors import Unavailable
from core.storage.ports import Delivery, Depth

_POLL_S = 0.02
"""The longest sleep of a waiting receive while messages are hidden: tests may set the clock forward meanwhile."""


@dataclass(slots=True)
class _Message:
    id: int
    body: str
    sent_at: float
    hidden_until: float = float("-inf")
    receive_count: int = 0
    receipt: str = ""


class MemoryQueues:
    """All queues of one deployment, by name. Safe for several threads.

    `clock` gives Unix seconds. Setting `available` to False makes every call raise Unavailable.
    """

    def __init__(
        self, *, visibility_timeout_s: float, max_receives: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.available = True
        self.visibility_timeout_s = visibility_timeout_s
        self.max_receives = max_receives
        self.clock = clock
        self.changed = threading.Condition()
        self.sends = 0
        self.numbers = itertools.count(1)
        self._queues: dict[str, MemoryQueue] = {}

    def open(self, name: str) -> MemoryQueue:
        """Return the queue of this name; make it if it does not exist yet."""
        with self.changed:
            return self._queues.setdefault(name, MemoryQueue(name, self))

    def wait_for_send(self, seen: int, timeout_s: float) -> int:
        """Wait until there are more sends than `seen`, or for `timeout_s`. Return the number of sends."""
        with self.changed:
            self.changed.wait_for(lambda: self.sends != seen, timeout_s)
            return self.sends

    def check(self, name: str) -> None:
        """Raise Unavailable if the queues are set to be unavailable. `name` is the queue's, for the message."""
        if not self.available:
            raise Unavailable(f"queue {name}: the queues in memory are set to be unavailable")


class MemoryQueue:
    """One queue of `MemoryQueues`, which holds the lock, the clock and the limits that all queues share."""

    def __init__(self, name: str, queues: MemoryQueues) -> None:
        self.name = name
        self._queues = queues
        self._messages: dict[int, _Message] = {}
        self._dead: _DeadLetters = _DeadLetters(self, queues)

    @property
    def per_request(self) -> int:
        return 1

    def send(self, bodies: Sequence[str]) -> None:
        """Send all or none: this queue never raises PartialSend."""
        with self._using():
            now = self._queues.clock()
            for body in bodies:
                self._add(body, now)
            self._queues.sends += 1
            self._queues.changed.notify_all()

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_s
        with self._using():
            while True:
                self._queues.check(self.name)
                self._bury()
                if found := self._take(limit):
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._queues.changed.wait(min(left, _POLL_S) if self._messages else left)

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        with self._using():
            later = (message for message in self._waiting() if message.id > int(after or 0))
            return [self._shown(message) for message in heapq.nsmallest(limit, later, key=lambda message: message.id)]

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        with self._using():
            for message in self._current(deliveries):
                self._messages.pop(message.id, None)

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        with self._using():
            until = self._queues.clock() + seconds
            for message in self._current(deliveries):
                message.hidden_until = until
            self._queues.changed.notify_all()

    def depth(self) -> Depth:
        """Return exact counts. A message whose last delivery timed out counts as dead before a receive moves it."""
        with self._using():
            waiting = list(self._waiting())
            exhausted = sum(self._exhausted(message) for message in waiting)
            return Depth(
                visible=len(waiting) - exhausted,
                in_flight=len(self._messages) - len(waiting),
                delayed=0,
                dead=exhausted + len(self._dead._messages),
                read_at=self._queues.clock(),
            )

    def dead_letters(self) -> MemoryQueue:
        """Return the queue of dead letters. It never moves them on, whatever their receive count."""
        return self._dead

    def redrive(self, limit: int) -> int:
        """Make dead letters new messages: sent now, never received, last in the queue. Letters in flight stay."""
        with self._using():
            self._bury()
            chosen = list(itertools.islice(self._dead._waiting(), limit))
            now = self._queues.clock()
            for message in chosen:
                del self._dead._messages[message.id]
                self._add(message.body, now)
            self._queues.changed.notify_all()
        return len(chosen)

    def _using(self) -> threading.Condition:
        """Return the lock of all queues. Raises Unavailable while they are set to be unavailable."""
        self._queues.check(self.name)
        return self._queues.changed

    def _add(self, body: str, now: float) -> None:
        message = _Message(next(self._queues.numbers), body, now)
        self._messages[message.id] = message

    def _waiting(self) -> Iterator[_Message]:
        """Yield the messages that are not hidden, oldest first."""
        now = self._queues.clock()
        return (message for message in self._messages.values() if message.hidden_until <= now)

    def _take(self, limit: int) -> list[Delivery]:
        until = self._queues.clock() + self._queues.visibility_timeout_s
        found = []
        for message in list(itertools.islice(self._waiting(), limit)):
            message.receive_count += 1
            message.hidden_until = until
            message.receipt = f"{message.id}:{message.receive_count}"
            found.append(Delivery(message.body, message.receipt, message.receive_count, message.sent_at))
        return found

    def _current(self, deliveries: Sequence[Delivery]) -> Iterator[_Message]:
        """Yield the messages of the deliveries whose receipts are not outdated."""
        for delivery in deliveries:
            number = delivery.receipt.partition(":")[0]
            message = self._messages.get(int(number)) if number.isdigit() else None
            if message is not None and message.receipt == delivery.receipt:
                yield message

    def _shown(self, message: _Message) -> Delivery:
        return Delivery(message.body, "", message.receive_count, message.sent_at, str(message.id))

    def _exhausted(self, message: _Message) -> bool:
        return message.receive_count >= self._queues.max_receives

    def _bury(self) -> None:
        """Move messages that wait again after their last delivery to the dead letters."""
        for message in [message for message in self._waiting() if self._exhausted(message)]:
            del self._messages[message.id]
            message.receipt = ""
            self._dead._messages[message.id] = message


class _DeadLetters(MemoryQueue):
    def __init__(self, parent: MemoryQueue, queues: MemoryQueues) -> None:
        self.name = parent.name + "-dead"
        self._parent = parent
        self._queues = queues
        self._messages = {}

    def dead_letters(self) -> MemoryQueue:
        return self

    def depth(self) -> Depth:
        with self._using():
            self._parent._bury()
            waiting = sum(1 for _ in self._waiting())
            return Depth(waiting, len(self._messages) - waiting, 0, 0, self._queues.clock())

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        with self._using():
            self._parent._bury()
            return super().peek(limit, after)

    def redrive(self, limit: int) -> int:
        """Return 0: redrive the queue that these dead letters came from."""
        return 0

    def _shown(self, message: _Message) -> Delivery:
        """Return the message with at most `max_receives` deliveries: reads of the dead letters do not count."""
        count = min(message.receive_count, self._queues.max_receives)
        return Delivery(message.body, "", count, message.sent_at, str(message.id))

    def _exhausted(self, message: _Message) -> bool:
        return False

    def _bury(self) -> None:
        self._parent._bury()
