"""Receives results in groups, each recorded in one transaction.

1. Where a request is free (files and SQLite), a group is recorded as it comes. While results come quickly, it is filled
   first: a group of a hundred costs half the processor time of a dozen small ones. That delays no end: a group that
   completes a batch is recorded at once.
2. Where a request is paid for (SQS), it waits for up to `LONG_POLL_S` while nothing comes. SQS answers as soon as there
   is a message, so this costs few requests and no time. While results come, there is a pause before each request, so
   that it returns more of them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass

from core.domain.messages import OutputMessage, decode_output
from core.errors import BadMessage, Unavailable
from core.storage.ports import Delivery, Queue
from core.telemetry import logger

GROUP = 100
LONG_POLL_S = 20.0
"""The longest that SQS allows."""
WAIT_S = 1.0
"""How long a receive waits that is not paid for."""
_QUICK = 4
"""Results come quickly if the last group had this many."""
_FILL_S = 0.25
_LOOK_S = 0.025
_STOPS_WITHIN_S = 0.25
_PAID_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the output queue; `message` is None if it cannot be read."""

    delivery: Delivery
    message: OutputMessage | None


class ResultReceiver:
    """Receives from `queue`. `completes` tells whether so many results more, by batch, complete one of the batches.

    `monotonic` gives seconds.
    """

    def __init__(
        self,
        queue: Queue,
        completes: Callable[[Mapping[str, int]], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._completes = completes
        self._monotonic = monotonic
        self._last = 0
        """The size of the last group."""

    @property
    def longest_wait_s(self) -> float:
        """The longest wait that pays off while there are no results."""
        return LONG_POLL_S if self._paid else WAIT_S

    @property
    def _paid(self) -> bool:
        return self._queue.per_request > 1

    def receive(self, stop: threading.Event, wait_s: float) -> list[Received]:
        """Return the next group; an empty one if nothing came within `wait_s` or `stop` was set. Raises Unavailable."""
        if self._paid:
            if self._last:
                stop.wait(_PAID_PAUSE_S)  # a receive that waits returns with the first message
            group = _parse(self._receive_until(stop, wait_s))
        else:
            group = _parse(self._queue.receive(GROUP, wait_s))
            if self._last >= _QUICK:
                self._fill(group, stop)
        self._last = len(group)
        return group

    def _fill(self, group: list[Received], stop: threading.Event) -> None:
        """Add what comes until the group is full or completes a batch, for `_FILL_S` at most."""
        until = self._monotonic() + _FILL_S
        came = bool(group)
        while group and len(group) < GROUP and self._monotonic() < until:
            if came and self._completes(_count(group)):
                return
            if stop.wait(_LOOK_S):
                return
            more = _parse(self._queue.receive(GROUP - len(group), 0))
            came = bool(more)
            group += more

    def _receive_until(self, stop: threading.Event, wait_s: float) -> Sequence[Delivery]:
        """Receive, in a thread of its own, so that a long wait ends with `stop`. Messages that come later are released.

        If the process ends before they come, they come back after their visibility timeout.
        """
        if wait_s <= WAIT_S:
            return self._queue.receive(GROUP, wait_s)
        asked: Future[Sequence[Delivery]] = Future()

        def receive() -> None:
            try:
                asked.set_result(self._queue.receive(GROUP, wait_s))
            except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
                asked.set_exception(error)

        threading.Thread(target=receive, name="long poll", daemon=True).start()
        while not wait([asked], _STOPS_WITHIN_S).done:
            if stop.is_set():
                asked.add_done_callback(self._release)
                return []
        return asked.result()

    def _release(self, asked: Future[Sequence[Delivery]]) -> None:
        if asked.exception() is not None:
            return
        try:
            self._queue.set_visibility(asked.result(), 0)
        except Unavailable as error:
            logger().debug("results that came while the collector stopped come back later", reason=str(error))


def _parse(deliveries: Sequence[Delivery]) -> list[Received]:
    return [Received(delivery, _message(delivery)) for delivery in deliveries]


def _message(delivery: Delivery) -> OutputMessage | None:
    """Return the message; None if it cannot be read: it is left to become a dead letter."""
    try:
        return decode_output(delivery.body)
    except BadMessage as error:
        logger().error("a result cannot be read", reason=str(error), receives=delivery.receive_count)
        return None


def _count(group: Sequence[Received]) -> Counter[str]:
    """Count the results of each batch."""
    return Counter(
        received.message.result.batch_id
        for received in group
        if received.message is not None and received.message.result is not None
    )
