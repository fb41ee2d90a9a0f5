"""Images that a decoder or a worker was lost to: worked on apart, one after another, behind all others.

1. They are held without their bytes, which are fetched when an image's turn comes, and they take at most a quarter
   of `prefetch`, so that the others keep flowing.
2. One for which there is no room goes to the end of the queue, as a new message that says what it is suspected of. It
   starts with no deliveries: a suspect that waits for its turn never becomes a dead letter, and no worker tries it
   among the others again.
3. One that says so and finds no room is given back for a while, and sent anew before its last delivery.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.item import Work
from app_tier.pipeline.result_writer import Trouble
from core import telemetry
from core.domain.messages import encode, log_ids
from core.errors import Unavailable
from core.storage.ports import Queue

_TRIES = 5


class Suspects:
    """Run by one thread. `handle` fetches, decodes and passes on one image, whatever becomes of it."""

    def __init__(
        self,
        jobs: Queue,
        held: Held,
        trouble: Trouble,
        *,
        prefetch: int,
        max_receives: int,
        retry_s: float,
        draining: threading.Event,
        handle: Callable[[Work], None],
    ) -> None:
        self._jobs = jobs
        self._held = held
        self._trouble = trouble
        self._most = max(1, prefetch // 4)
        self._max_receives = max_receives
        self._retry_s = retry_s
        self._draining = draining
        self._handle = handle
        self._waiting: deque[Work] = deque()
        self._current: Work | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, work: Work) -> None:
        """Take it up, or let it go to a later turn where there is no room or no time for it."""
        work.data = b""
        self._held.set_aside(work.delivery)
        with self._changed:
            has_room = len(self._waiting) + (self._current is not None) < self._most
            if has_room and not self._draining.is_set():
                self._waiting.append(work)
                self._changed.notify_all()
                return
        self._defer(work)

    def run(self) -> None:
        """Until `close`."""
        while (work := self._next()) is not None:
            if work.rival is not None and work.rival.claimed:
                continue  # it was decoded after all
            if self._draining.is_set():
                self._defer(work)
                continue
            self._handle(work)

    def release(self) -> None:
        """Let go of all that wait for their turn, as what they are: this worker ends."""
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
        for work in waiting:
            self._defer(work)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> Work | None:
        with self._changed:
            self._current = None
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def _defer(self, work: Work) -> None:
        if not work.claim():
            return
        is_marked = bool(work.job.suspected)
        if is_marked and work.delivery.receive_count < self._max_receives:
            self._held.give_back([work.delivery], 0.0 if self._draining.is_set() else self._retry_s)
            return
        suspected = work.suspected or "decoding"
        marked = work.job.model_copy(update={"suspected": suspected})
        telemetry.logger().info("a suspected image goes to the end of the queue", of=suspected, **log_ids(work.job))
        try:
            self._trouble.ride_out(partial(self._jobs.send, [encode(marked)]), _TRIES)
            self._trouble.ride_out(partial(self._held.acknowledge, [work.delivery]), _TRIES)
        except Unavailable:  # sent and not acknowledged it is there twice, which does no harm
            self._held.give_back([work.delivery], self._retry_s)
