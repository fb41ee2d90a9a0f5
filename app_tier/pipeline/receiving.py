"""The receive stage: takes messages from the queue while there is room for them.

1. Where a request brings few messages (ten of SQS in 20 to 30 ms), several requests are under way at once. After a full
   answer there are probably more messages, so another thread joins if there is room for them. After an answer that was
   not even half full it leaves again.
2. One thread always stays. Alone, it lets its request wait for messages; so an idle queue costs one request a
   `RECEIVE_WAIT_S`, as with a single thread.
3. Each request has its room reserved before it is made, so together they never bring more than fits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from app_tier.pipeline.flow import Flow
from core.errors import Unavailable
from core.storage.ports import Delivery, Queue

RECEIVE_WAIT_S = 1.0
_PAUSE_S = 0.2
_MOST = 12
"""The most requests under way: of ten messages in 30 ms each, they bring 4,000 a second."""


class Receiving:
    """Receives until this worker drains, and calls `received` with each answer's messages, which are in flight."""

    def __init__(self, flow: Flow, jobs: Queue, received: Callable[[Sequence[Delivery]], None]) -> None:
        self._flow = flow
        self._jobs = jobs
        self._received = received
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the first thread."""
        with self._lock:
            self._start_thread()

    def join(self, timeout_s: float) -> bool:
        """Wait until no thread receives any more. Return whether it is so after `timeout_s`."""
        with self._lock:
            threads = list(self._threads)
        until = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            return not any(thread.is_alive() for thread in self._threads)

    @property
    def count(self) -> int:
        """The number of threads."""
        return len(self._threads)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._flow.run_stage, args=(self._run,), name="receive", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        while not self._flow.draining.is_set():
            found, asked = self._receive()
            if found == asked > 0:
                self._call_another()
            elif 2 * found < asked or not asked:
                with self._lock:
                    if len(self._threads) > 1:
                        self._threads.discard(threading.current_thread())
                        return

    def _call_another(self) -> None:
        """Start another thread if another request of this size is probably full, too."""
        per_request, in_flight = self._jobs.per_request, self._flow.in_flight
        if per_request == 1 or in_flight.room < per_request:
            return
        with self._lock:
            if len(self._threads) < _MOST and not self._flow.draining.is_set():
                self._start_thread()

    def _receive(self) -> tuple[int, int]:
        """Receive once. Return how many messages came, and how many were asked for; 0 if there was no room."""
        per_request, in_flight = self._jobs.per_request, self._flow.in_flight
        quarter = max(1, in_flight.limit // 4)
        room = (
            in_flight.reserve(min(per_request, quarter), per_request, RECEIVE_WAIT_S)
            if per_request > 1
            else in_flight.reserve(quarter, in_flight.limit, RECEIVE_WAIT_S)
        )
        if not room:
            return 0, 0
        deliveries: Sequence[Delivery] = []
        with self._flow.receiving.receive() as may_receive:
            try:
                if may_receive and not self._flow.draining.is_set():  # messages that go back make room
                    wait_s = RECEIVE_WAIT_S if len(self._threads) == 1 else 0.0
                    deliveries = self._flow.retrier.call(partial(self._jobs.receive, room, wait_s))
            except Unavailable:
                return 0, room  # only once this worker drains
            finally:
                in_flight.add(deliveries, reserved=room)
        if not may_receive:
            self._flow.draining.wait(_PAUSE_S)
            return 0, 0
        if deliveries:
            self._received(deliveries)
        return len(deliveries), room
