"""Images that may crash a decoder or the worker: they are worked on one at a time, apart from the others.

1. They wait without their bytes, which are fetched when an image's turn comes. They take at most a quarter of
   `prefetch`, so that other images keep flowing.
2. A suspect for which there is no room goes to the end of the queue, as a new message that says what it is suspected
   of. That message starts with no deliveries. So a suspect that waits for its turn never becomes a dead letter, and no
   worker tries it among the others again.
3. If such a message finds no room, it is released for a while, and sent anew before its last delivery.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app_tier.pipeline.child_decoder import ChildDecoder
from app_tier.pipeline.decoding import Decoding
from app_tier.pipeline.fetching import Fetching
from app_tier.pipeline.flow import Flow
from app_tier.pipeline.item import WorkItem
from core import telemetry
from core.domain.messages import encode, log_ids
from core.errors import DecoderLost, Unavailable
from core.storage.ports import Queue

_TRIES = 5
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class SuspectLimits:
    """The limits for suspects: how many may wait here, and how the others are put off."""

    prefetch: int
    max_receives: int
    """Deliveries after which a message becomes a dead letter."""
    retry_s: float
    """How long a suspect without room is hidden."""

    @property
    def room(self) -> int:
        """The most suspects here at once."""
        return max(1, self.prefetch // 4)


class SuspectHandler:
    """Works on one suspect: decodes it in a child process, and tags it alone if the tagger is suspected."""

    def __init__(
        self,
        flow: Flow,
        fetching: Fetching,
        decoding: Decoding,
        decoder: ChildDecoder,
        decoded: Callable[[WorkItem, str], None],
    ) -> None:
        """`decoder` has the full time limit. `decoded` takes an image that has a frame, or one with its problem."""
        self._flow = flow
        self._fetching = fetching
        self._decoding = decoding
        self._decoder = decoder
        self._decoded = decoded

    def handle(self, item: WorkItem) -> None:
        """Fetch and decode the image, and pass it on."""
        if not self._fetching.is_wanted(item):
            return
        self._flow.expect_at_infer(item)
        telemetry.logger().warning("an image is decoded alone: it may have crashed a decoder", **log_ids(item.job))
        if not self._fetching.fetch(item):
            return
        try:
            problem = self._decoding.decode_in_child(item, self._decoder)
        except DecoderLost as error:
            problem = str(error)
        if not item.claim():
            self._flow.stop_expecting(item)
        elif item.needs_own_batch and not problem:
            self._infer_alone(item)
        else:
            self._decoded(item, problem)

    def close(self) -> None:
        """End the child process."""
        self._decoder.close()

    def _infer_alone(self, item: WorkItem) -> None:
        """Tag the image while only suspects are in flight: if it ends this worker, no other image loses a delivery."""
        draining, in_flight = self._flow.draining, self._flow.in_flight
        with self._flow.receiving.suspended():
            while not draining.is_set() and not in_flight.wait_until_only_suspects(_POLL_S):
                pass
            if not self._flow.release_if_draining(item):
                self._decoded(item, "")
                while not draining.is_set() and item.delivery in in_flight:
                    in_flight.wait_for_change(_POLL_S)


class Suspects:
    """The suspects that wait for their turn. Run by one thread."""

    def __init__(self, flow: Flow, jobs: Queue, limits: SuspectLimits, handler: SuspectHandler) -> None:
        self._flow = flow
        self._jobs = jobs
        self._limits = limits
        self._handler = handler
        self._waiting: deque[WorkItem] = deque()
        self._current: WorkItem | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: WorkItem) -> None:
        """Let the image wait for its turn here, or defer it if there is no room or this worker drains."""
        item.drop_bytes()
        self._flow.in_flight.mark_suspect(item.delivery)
        with self._changed:
            has_room = len(self._waiting) + (self._current is not None) < self._limits.room
            if has_room and not self._flow.draining.is_set():
                self._waiting.append(item)
                self._changed.notify_all()
                return
        self._defer(item)

    def run(self) -> None:
        """Handle one image after another until `close`."""
        while (item := self._next()) is not None:
            if item.slow_attempt is not None and item.slow_attempt.claimed:
                continue  # the slow decode succeeded after all
            if self._flow.draining.is_set():
                self._defer(item)
                continue
            self._handler.handle(item)
        self._handler.close()

    def release(self) -> None:
        """Defer all that wait for their turn: this worker ends."""
        with self._changed:
            waiting, self._waiting = list(self._waiting), deque()
        for item in waiting:
            self._defer(item)

    def close(self) -> None:
        """Make `run` return once nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self) -> WorkItem | None:
        with self._changed:
            self._current = None
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def _defer(self, item: WorkItem) -> None:
        """Put the image off: release a message that is marked as a suspect, else send a marked one in its place."""
        if not item.claim():
            return
        is_marked = bool(item.job.suspected)
        if is_marked and item.delivery.receive_count < self._limits.max_receives:
            delay_s = 0.0 if self._flow.draining.is_set() else self._limits.retry_s
            self._flow.in_flight.release([item.delivery], delay_s)
            return
        suspected = item.suspected or "decoding"
        marked = item.job.model_copy(update={"suspected": suspected})
        telemetry.logger().info("a suspect goes to the end of the queue", of=suspected, **log_ids(item.job))
        try:
            self._flow.retrier.call(partial(self._jobs.send, [encode(marked)]), _TRIES)
            self._flow.retrier.call(partial(self._flow.in_flight.acknowledge, [item.delivery]), _TRIES)
        except Unavailable:  # sent and not acknowledged, the image is tagged twice, which does no harm
            self._flow.in_flight.release([item.delivery], self._limits.retry_s)
